"""What the replication ids of two Redis servers say: one group or two, what one lacks, what can be sent again.

Redis has no identifier of a cluster. A replication id names one run of writes; a promotion begins another and keeps
the one before it as the second id, up to the offset of the promotion. A restart forgets both, unless an RDB file was
loaded that has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from agent.datastores.redis_state import State


class Kinship(StrEnum):
    """Whether two servers have ever shared their data."""

    SHARED = "shared"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


def kinship(here: State, there: State, others: Iterable[State] = ()) -> Kinship:
    """Whether the servers are of one group, by their ids and by those of the configured peers.

    `FOREIGN` needs proof: this server is a living member of a group that the other is not known to, or both remember
    their past and have nothing in common. An id that a restart made says nothing: `UNKNOWN`.
    """
    group = set(here.history)
    unseen = [there, *others]
    while joined := [each for each in unseen if group & set(each.history)]:
        group.update(*(each.history for each in joined))
        unseen = [each for each in unseen if each not in joined]
    if there not in unseen:
        return Kinship.SHARED
    foreign = here.replicates or (here.remembers and there.remembers)
    return Kinship.FOREIGN if foreign else Kinship.UNKNOWN


def bytes_ahead(here: State, there: State) -> int | None:
    """Bytes of the replication stream that `here` has and `there` lacks; None where that cannot be known.

    A replica that takes writes of its own has keys that are in no stream.
    """
    common = [min(here.history[each], there.history[each]) for each in here.history if each in there.history]
    if not common or (here.is_replica and not here.read_only):
        return None
    return max(0, here.offset - max(common))


def can_continue(here: State, there: State) -> bool:
    """Whether `there` can send to `here` what it lacks, without a copy of everything."""
    if here.replid not in there.history or here.asks_from != here.offset + 1 or there.backlog is None:
        return False
    first, last = there.backlog
    return here.offset <= there.history[here.replid] and first <= here.asks_from <= last + 1
