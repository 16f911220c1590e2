"""Find servers that are better candidates for a promotion: the source's upstream, and replicas with more WAL."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, one
from agent.datastores.postgresql.peers import PeerState

SENDS_TO = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE host(client_addr) = %s)"


def upstream_of(connection: Connection, source: PeerState | None) -> str | None:
    """The third server that the source receives from, or None. It is the primary, or between the two."""
    if source is None or source.follows is None or _is_this_server(connection, source):
        return None
    return source.follows or "a server that the account of the agent may not see (pg_monitor shows it)"


def ahead_of(connection: Connection, others: Sequence[PeerState]) -> list[str]:
    """A sentence for each other replica with WAL of the old primary that this server lacks.

    A server on an older timeline was left behind by a promotion: its additional WAL is not of this branch.
    """
    timeline, position = facts.timeline(connection), facts.position(connection)
    found = []
    for other in others:
        if other.state != "read_only" or other.position is None or (other.timeline or 0) < timeline:
            continue
        if other.timeline != timeline:
            found.append(f"{other.address} is on the newer timeline {other.timeline}, this server on {timeline}")
        elif (more := facts.bytes_between(connection, other.position, position)) > 0:
            found.append(f"{other.address} has {more} bytes of WAL that this server lacks")
    return found


def _is_this_server(connection: Connection, source: PeerState) -> bool:
    """Whether the source receives from this server, as after replication.demote. Addresses may differ per side."""
    host, _, port = str(source.follows).rpartition(":")
    if port not in ("", str(one(connection, "SHOW port"))):
        return False
    if source.own_address is not None and one(connection, SENDS_TO, source.own_address):
        return True
    return bool(host) and (host.startswith("/") or _is_local(host))


def _is_local(host: str) -> bool:
    """Whether an address of the host belongs to this machine: only a local address can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_be_bound(family, address) for family, _, _, _, address in found)


def _can_be_bound(family: int, address: tuple[object, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
