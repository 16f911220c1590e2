"""Doctor's checks of the access to the agent: addresses, and the expiry of certificates and tokens."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from agent.auth import tokens
from agent.auth.identities import Identity
from agent.cli.doctor.finding import Finding
from agent.config import Settings
from agent.config.addresses import host_of
from agent.errors import ConfigError
from agent.server import certificate_end, revocation_list

SOON = 30 * 86400
"""A certificate or token that expires in less than this number of seconds is a fault."""
DAY = 86400


def addresses(settings: Settings) -> Iterator[Finding]:
    """Whether the agent answers at each address, or could listen there."""
    for each in settings.api.bind:
        yield _unix(each) if host_of(each) is None else _tcp(each)


def _unix(address: str) -> Finding:
    path = Path(address.removeprefix("unix:"))
    if not path.parent.is_dir():
        return Finding("api.bind", f"there is no folder {path.parent} for {path.name}: run install -d {path.parent}")
    if not path.exists():
        if os.access(path.parent, os.W_OK):
            return Finding("api.bind", detail=f"{path} is made at the start")
        return Finding("api.bind", f"the agent's user may not make {path}: add RuntimeDirectory= to its unit")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
            return Finding("api.bind", detail=f"{path} answers")
        except ConnectionRefusedError:
            return Finding("api.bind", detail=f"{path} is a leftover of an agent that has ended")
        except OSError as error:
            return Finding("api.bind", f"{path}: {error.strerror}: run rm {path} if it is not a socket of the agent")


def _tcp(address: str) -> Finding:
    host, port = host_of(address) or "", int(address.rpartition(":")[2])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return Finding("api.bind", detail=f"{address} is free; the agent does not run there")
        except OSError as error:
            return _taken(address) if error.errno == errno.EADDRINUSE else _unusable(address, error)


def _taken(address: str) -> Finding:
    """An address that a program listens on: the agent, or another."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as probe:
            probe.sendall(f"GET /api/unstable/actions/queue HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            answered = probe.recv(65536)
    except OSError:
        answered = b""
    # No answer proves nothing: an agent with TLS does not answer plain HTTP either.
    if answered.startswith(b"HTTP/") and b"\r\nserver: agent" not in answered.lower() and b"json" not in answered:
        return Finding("api.bind", f"another program listens on {address}: end it, or set api.bind to another port")
    return Finding("api.bind", detail=f"{address} is in use")


def _unusable(address: str, error: OSError) -> Finding:
    hint = "set api.bind to an address of this host"
    if error.errno == errno.EACCES:
        hint = "set api.bind to a port from 1024 on"
    return Finding("api.bind", f"the agent cannot listen on {address}: {error.strerror}: {hint}")


def certificates(settings: Settings) -> Iterator[Finding]:
    """The expiry of each configured certificate."""
    if (tls := settings.api.tls) is None:
        return
    for option, file in (("certificate", tls.certificate), ("clients_ca", tls.clients_ca)):
        if file is not None:
            yield _ending(f"api.tls.{option}", f"{file}", certificate_end.of(file), "renew it")


def revocations(settings: Settings) -> Iterator[Finding]:
    """The expiry of the revocation list."""
    if settings.api.tls is None or (file := settings.api.tls.crl) is None:
        return
    try:
        end = revocation_list.valid_until(file.read_bytes())
    except OSError as error:
        yield Finding("api.tls.crl", f"{file} cannot be read: {error.strerror}: no caller is accepted without it")
    else:
        yield _ending("api.tls.crl", str(file), end, "publish a new list", soon=DAY)


def _ending(subject: str, what: str, end: float, remedy: str, *, soon: float = SOON) -> Finding:
    left = end - time.time()
    if left < 0:
        return Finding(subject, f"{what} has expired: {remedy}")
    if left < soon:
        return Finding(subject, f"{what} expires in {left / DAY:.0f} days: {remedy}")
    return Finding(subject, detail=what if left == float("inf") else f"{what}, {left / DAY:.0f} days left")


def identities(settings: Settings) -> Iterator[Finding]:
    """The identities that may call, and the expiry of their credentials."""
    if settings.api.tokens is None:
        if not settings.api.authenticated:
            yield Finding("callers", detail="not authenticated: every process of this host may schedule any action")
        return
    try:
        found, _ = tokens.read(settings.api.tokens, certificates=settings.api.certified)
    except ConfigError:
        return  # reported by the checks of the configuration
    everyone = [*found.by_email.values(), *found.unix.values()]
    if not everyone:
        yield Finding("api.tokens", f"{settings.api.tokens} is empty: run agentctl token create")
    for identity in everyone:
        if (end := _end_of(identity)) is not None:
            yield _ending("api.tokens", identity.email, end, f"run agentctl token rotate {identity.email}")


def _end_of(identity: Identity) -> float | None:
    """When the last credential of the identity expires; a token may expire while another one stays valid."""
    last = [token.expires for token in identity.tokens]
    ends = [identity.expires] if None in last else [identity.expires, max(filter(None, last), default=None)]
    return min((each for each in ends if each is not None), default=None)
