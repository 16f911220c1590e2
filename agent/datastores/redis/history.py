"""Compare the replication ids of two Redis servers: common group, missing writes, possible continuation.

Redis has no cluster identifier. A replication id names one history of writes. A promotion begins a new history and
keeps the previous one as the second id, up to the offset of the promotion. A restart forgets both unless it loads an
RDB file that contains them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from agent.datastores.redis.state import RedisState


class SharedHistory(StrEnum):
    """Whether two servers have ever shared data."""

    SHARED = "shared"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


def kinship(here: RedisState, there: RedisState, others: Iterable[RedisState] = ()) -> SharedHistory:
    """Whether the servers are of one group, by their ids and by the ids of the configured peers.

    `FOREIGN` needs proof: this server is an active member of a group without the other, or both know their past and
    have no id in common. An id created by a restart proves nothing: `UNKNOWN`.
    """
    group = set(here.history)
    unseen = [there, *others]
    while joined := [each for each in unseen if group & set(each.history)]:
        group.update(*(each.history for each in joined))
        unseen = [each for each in unseen if each not in joined]
    if there not in unseen:
        return SharedHistory.SHARED
    foreign = here.replicates or (here.remembers and there.remembers)
    return SharedHistory.FOREIGN if foreign else SharedHistory.UNKNOWN


def bytes_ahead(here: RedisState, there: RedisState) -> int | None:
    """Bytes of the replication stream that `here` has and `there` lacks; None if unknown.

    Unknown for a writable replica, whose own keys are in no stream.
    """
    common = [min(here.history[each], there.history[each]) for each in here.history if each in there.history]
    if not common or (here.is_replica and not here.read_only):
        return None
    return max(0, here.offset - max(common))


def can_continue(here: RedisState, there: RedisState) -> bool:
    """Whether `there` can send to `here` the missing writes without a full copy."""
    if here.replid not in there.history or here.asks_from != here.offset + 1 or there.backlog is None:
        return False
    first, last = there.backlog
    return here.offset <= there.history[here.replid] and first <= here.asks_from <= last + 1
