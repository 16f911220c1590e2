"""Query the other configured servers in parallel, and find obstacles to a promotion."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.redis import source
from agent.datastores.redis.history import bytes_ahead
from agent.datastores.redis.source import Options
from agent.datastores.redis.state import RedisState

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

ANSWERS_WITHIN = 1.0
"""Timeout in seconds of the answers of the other peers."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """`primary`: a server of the same history that accepts writes. `ahead`: a sentence for each replica ahead."""

    primary: str | None = None
    ahead: Sequence[str] = ()


def states(datastore: Redis, own: Options, but: str) -> dict[str, RedisState]:
    """The peers that answer, by address, except the one at the address `but`."""

    def ask(peer: Any) -> tuple[str, RedisState] | None:
        with suppress(DatastoreError):
            other = source.of_peer(peer, own, ANSWERS_WITHIN)
            return None if other.address == but else (other.address, other.look())
        return None

    peers = list(datastore.settings.peers.values())
    if not peers:
        return {}
    with ThreadPoolExecutor(len(peers)) as threads:
        return dict(filter(None, threads.map(ask, peers)))


def rivals(here: RedisState, others: dict[str, RedisState]) -> Rivals:
    """The obstacles to the promotion: peers that share a replication id with this server."""
    known = set(here.history)
    kin = {at: each for at, each in others.items() if each.run_id != here.run_id and known & set(each.history)}
    ahead = {at: bytes_ahead(each, here) for at, each in kin.items() if each.is_replica and not each.copying}
    return Rivals(
        primary=next((at for at, each in kin.items() if not (each.is_replica and each.read_only)), None),
        ahead=[f"{at} has {more} bytes of writes that this server lacks" for at, more in ahead.items() if more],
    )
