"""Compares the sockets that really listen with `api.bind`, including sockets opened by another process."""

import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.config import Api, addresses
from agent.errors import ConfigError

DESCRIPTORS = Path("/proc/self/fd")

Address = str | tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]
"""The path of a unix socket (abstract ones begin with @), or address and port."""


def check(api: Api) -> None:
    """Raises `ConfigError` unless the listening sockets of this process are exactly those of `api.bind`.

    gunicorn listens elsewhere if its command line, systemd or a previous process gives it other sockets.
    """
    found = list(_listening())
    for each in found:
        if not any(_is(each, bind) for bind in api.bind):
            named = ", ".join(api.bind)
            raise ConfigError(
                f"api.bind is {named}, but gunicorn listens on {_text(each)}: name this address in api.bind, or remove "
                "it from gunicorn's options and from the socket unit"
            )
        if not api.authenticated and not _is_local(each):
            raise ConfigError(
                f"gunicorn listens on {_text(each)}, which other machines reach: "
                "set api.tokens or api.tls.clients_ca, or bind a loopback address"
            )
    for bind in api.bind:
        if not any(_is(each, bind) for each in found):
            raise ConfigError(
                f"api.bind names {bind}, where gunicorn does not listen: add the address to the socket unit, "
                "or disable that unit"
            )


def _listening() -> Iterator[Address]:
    for descriptor in DESCRIPTORS.iterdir():
        with suppress(OSError):  # closed since the listing
            number = int(descriptor.name)
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as each:
                    if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        yield _address(each)


def _address(listener: socket.socket) -> Address:
    name = listener.getsockname()
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        return ipaddress.ip_address(name[0].partition("%")[0]), int(name[1])
    if isinstance(name, bytes):
        return "@" + name[1:].decode(errors="backslashreplace")
    return str(name)


def _is(found: Address, bind: str) -> bool:
    """Whether the listener has the address of an element of `api.bind`."""
    host = addresses.host_of(bind)
    if host is None or isinstance(found, str):
        return bind == f"unix:{found}"
    address, port = found
    wanted = int(bind.rpartition(":")[2])
    return wanted in (0, port) and address in _resolved(host)


def _resolved(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        names = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {ipaddress.ip_address(str(name[4][0]).partition("%")[0]) for name in names}


def _is_local(found: Address) -> bool:
    return isinstance(found, str) or found[0].is_loopback


def _text(found: Address) -> str:
    if isinstance(found, str):
        return f"unix:{found}"
    address, port = found
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
