"""The oplogs of two members compared: whether one has what the other lacks, and where they parted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.datastores.mongodb_member import OpTime, optime_of

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB

BATCH = 500
MOST = 10_000
"""Entries that are compared before the comparison gives up."""


def newest(at: MongoDB) -> OpTime | None:
    """The last entry; None where the oplog is empty."""
    return next(iter(_entries(at, {}, -1, 1)), None)


def oldest(at: MongoDB) -> OpTime | None:
    """The first entry that is still there."""
    return next(iter(_entries(at, {}, 1, 1)), None)


def has(at: MongoDB, wanted: OpTime) -> bool:
    """Whether this very entry is there: the same time from another term is another write."""
    return wanted in _entries(at, {"ts": _timestamp(wanted)}, 1, 2)


def count_after(at: MongoDB, since: OpTime) -> int | None:
    """How many entries follow that one; None: more than `MOST`."""
    found = len(_entries(at, {"ts": {"$gt": _timestamp(since)}}, 1, MOST + 1))
    return None if found > MOST else found


def parting(here: MongoDB, there: MongoDB) -> tuple[OpTime | None, int | None]:
    """The newest entry of `here` that `there` has too, and how many entries of `here` follow it; None: not found."""
    following, bound = 0, dict[str, Any]()
    while following < MOST:
        own = _entries(here, bound, -1, BATCH)
        if not own:
            break
        first, last = _timestamp(own[-1]), _timestamp(own[0])
        common = set(_entries(there, {"ts": {"$gte": first, "$lte": last}}, 1, MOST))
        for entry in own:
            if entry in common:
                return entry, following
            following += 1
        bound = {"ts": {"$lt": first}}
    return None, None


def _entries(at: MongoDB, filter: Any, direction: int, limit: int) -> list[OpTime]:
    answer = at.command(
        "find",
        "oplog.rs",
        database="local",
        filter=filter,
        sort={"$natural": direction},
        projection={"ts": 1, "t": 1, "_id": 0},
        limit=limit,
        batchSize=limit,
        singleBatch=True,
    )
    found = map(optime_of, answer["cursor"]["firstBatch"])
    return [each for each in found if each is not None]


def _timestamp(optime: OpTime) -> Any:
    from bson.timestamp import Timestamp

    return Timestamp(optime.seconds, optime.number)
