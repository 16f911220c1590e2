"""The actions of a list on one timeline; they run one at a time, so their bars do not overlap."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.web.rows import Row

WIDTH = 1000
"""The width of the timeline, in units."""
LEAST = 2.0
"""The minimum width of a bar, in units."""


@dataclass(frozen=True)
class Bar:
    """The bar of one action: its start and width in units, and the duration of the action."""

    at: float
    width: float
    status: str
    kind: str
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """The bars, and the first start and last end in microseconds since the epoch."""

    bars: tuple[Bar, ...]
    begins: int
    ends: int


def of(rows: Sequence[Row]) -> Timeline | None:
    """The timeline of the actions that ran; None for fewer than two."""
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
