"""Compare the oplogs of two members: common entries and the fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.datastores.mongodb.member import OpTime, optime_of

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

BATCH = 500
MOST = 10_000
"""Maximum number of compared entries."""


def newest(at: MongoDB) -> OpTime | None:
    """The last entry; None if the oplog is empty."""
    return next(iter(_entries(at, {}, -1, 1)), None)


def oldest(at: MongoDB) -> OpTime | None:
    """The first existing entry."""
    return next(iter(_entries(at, {}, 1, 1)), None)


def has(at: MongoDB, wanted: OpTime) -> bool:
    """Whether the oplog contains this entry, compared by time and term."""
    return wanted in _entries(at, {"ts": _timestamp(wanted)}, 1, 2)


def count_after(at: MongoDB, since: OpTime) -> int | None:
    """Number of entries after that one; None: more than `MOST`."""
    found = len(_entries(at, {"ts": {"$gt": _timestamp(since)}}, 1, MOST + 1))
    return None if found > MOST else found


def parting(here: MongoDB, there: MongoDB) -> tuple[OpTime | None, int | None]:
    """The newest common entry, and the number of entries of `here` after it; None: not found."""
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
