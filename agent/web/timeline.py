"""The actions of a list on one line of time: they run one after the other, so their bars do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.web.rows import Row

WIDTH = 1000
"""Units from the first start to the last end."""
LEAST = 2.0
"""Units of the shortest bar."""


@dataclass(frozen=True)
class Bar:
    """One action: where its bar begins and how wide it is, in units, and how long it ran."""

    at: float
    width: float
    status: str
    kind: str
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """Times are microseconds since the epoch."""

    bars: tuple[Bar, ...]
    begins: int
    ends: int


def of(rows: Sequence[Row]) -> Timeline | None:
    """The line of those that ran; None where fewer than two did."""
    ran = [(row, row.item.started_ts, row.item.finished_ts) for row in rows]
    known = [(row, begins, ends) for row, begins, ends in ran if begins is not None and ends is not None]
    if len(known) < 2:
        return None
    first, last = min(begins for _, begins, _ in known), max(ends for _, _, ends in known)
    unit = max(1, last - first) / (WIDTH - LEAST)
    bars = (
        Bar(
            round((begins - first) / unit, 1),
            round(max(LEAST, (ends - begins) / unit), 1),
            row.status,
            row.item.kind,
            (ends - begins) / 1e6,
        )
        for row, begins, ends in known
    )
    return Timeline(tuple(bars), first, last)
