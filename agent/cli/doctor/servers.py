"""Doctor's checks of servers by a connection: the datastore and its peers, caches, the container engine."""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from agent import datastores
from agent.cli.doctor.finding import Finding
from agent.config import CacheSettings, DatastoreSettings, Settings
from agent.datastores.base import DriverMissing
from agent.errors import ConfigError

LONGEST = 5.0
"""Timeout of a connection in seconds."""
PORTS = {"redis": 6379, "rediss": 6379, "memcached": 11211}


def datastore(settings: Settings) -> Iterator[Finding]:
    """Connect with the agent's credentials; report unknown facts, and a replica that does not stream."""
    if settings.datastore is not None:
        yield from _checked("datastore", settings.datastore, must_stream=True)


def peers(settings: Settings) -> Iterator[Finding]:
    """The same check for each peer."""
    if settings.datastore is None:
        return
    for name, peer in settings.datastore.peers.items():
        there = replace(settings.datastore, url=peer.url, password_file=peer.password_file, peers={})
        yield from _checked(f"datastore.peers.{name}", there)


def _checked(subject: str, settings: DatastoreSettings, *, must_stream: bool = False) -> Iterator[Finding]:
    try:
        server = datastores.of(replace(settings, timeout=min(settings.timeout, LONGEST)))
    except (ConfigError, DriverMissing) as error:
        yield Finding(subject, str(error))
        return
    try:
        facts = server.status()
    except ImportError as error:
        yield Finding(
            subject, f"its driver cannot be imported: {error}: install the agent with [{settings.kind}] again"
        )
        return
    if not facts.reachable:
        yield Finding(subject, f"{facts.error}: start it, or correct {subject}.url and its password_file")
        return
    yield Finding(subject, detail=f"{facts.version or settings.kind}, {facts.role}")
    if must_stream and facts.streaming is False:
        yield Finding(subject, _not_streaming(facts.source or {}))
    for fact, why in facts.unknown.items():
        if fact in server.absent_facts:
            continue
        yield Finding(subject, f"{fact} is not known: {why}: see docs/{settings.kind}.rst for the rights of the agent")


def _not_streaming(source: Mapping[str, Any]) -> str:
    if source.get("state") == "streaming":
        why = source.get("error") or "its replay is paused or its applier is stopped"
        return (
            f"the replica receives from {source.get('address')} and does not apply it: {why}: start the applier again"
        )
    return (
        f"the replica does not stream from {source.get('address')} ({source.get('state')}): start its source, or "
        "run agentctl plan resync_slave_db"
    )


def caches(settings: Settings) -> Iterator[Finding]:
    """Connect to each cache that is a server."""
    for name, cache in settings.caches.items():
        if cache.url is not None:
            yield _cache(f"caches.{name}", cache)


def _cache(subject: str, cache: CacheSettings) -> Finding:
    if cache.kind == "redis":
        wanted = DatastoreSettings(
            kind="redis", url=cache.url or "", password_file=cache.password_file, timeout=LONGEST
        )
        return next(_checked(subject, wanted))
    fault = _unreachable(cache.url or "")
    return Finding(subject, fault and f"{fault}: start it, or correct {subject}.url", cache.url or "")


def engine(settings: Settings) -> Iterator[Finding]:
    """Connect to the container engine's socket."""
    if settings.containers is None:
        return
    url = settings.containers.engine
    parts = urlsplit(url)
    if parts.scheme == "unix" and os.path.exists(parts.path) and not os.access(parts.path, os.W_OK):
        group = "add the agent's user to the group of that socket, which makes it as powerful as root"
        yield Finding("containers.engine", f"the agent's user may not use {parts.path}: {group}")
        return
    fault = _unreachable(url)
    yield Finding("containers.engine", fault and f"{fault}: start it, or correct containers.engine", url)


def _unreachable(url: str) -> str:
    """Why the connection failed; empty if it succeeded."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(LONGEST)
                probe.connect(parts.path)
        else:
            where = (parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0))
            socket.create_connection(where, timeout=LONGEST).close()
    except OSError as error:
        return f"nothing answers at {url}: {error.strerror or error}"
    return ""
