"""Timelines of PostgreSQL: which server of a cluster wrote which WAL, and where two servers parted."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Branch:
    """A timeline, and the LSN at which it leaves its parent; 0 for the first one."""

    timeline: int
    begin: int


@dataclass(frozen=True, slots=True)
class Position:
    """How far a server is: the branches that lead to it, the newest last, and the end of its WAL."""

    branches: tuple[Branch, ...]
    end: int

    @property
    def timeline(self) -> int:
        """The timeline of the end."""
        return self.branches[-1].timeline

    def end_of(self, index: int) -> int:
        """The LSN at which one of the branches is left or ends."""
        return self.branches[index + 1].begin if index + 1 < len(self.branches) else self.end


@dataclass(frozen=True, slots=True)
class Fork:
    """The last point that two servers have in common, and the bytes of WAL that the first has past it.

    `ahead`: the servers are on the same timeline, and the first one has more of it.
    """

    timeline: int
    lsn: int
    past: int
    ahead: bool


def branches_of(history: str, timeline: int) -> tuple[Branch, ...]:
    """The content of a history file of that timeline; empty for the first timeline."""
    left = [(int(found[1]), lsn(found[2])) for found in LINE.finditer(history)]
    timelines = [each for each, _ in left] + [timeline]
    begins = [0] + [switch for _, switch in left]
    return tuple(Branch(*each) for each in zip(timelines, begins, strict=True))


def fork_of(mine: Position, theirs: Position) -> Fork | None:
    """Where `mine` left `theirs`; None where they have no timeline in common."""
    common = -1
    for index, (one, other) in enumerate(zip(mine.branches, theirs.branches, strict=False)):
        if one != other:
            break
        common = index
    if common < 0:
        return None
    parted = min(mine.end_of(common), theirs.end_of(common))
    both_end_here = common == len(mine.branches) - 1 == len(theirs.branches) - 1
    return Fork(mine.branches[common].timeline, parted, max(0, mine.end - parted), both_end_here and mine.end > parted)


def lsn(text: str) -> int:
    """An LSN such as 0/3000148 as a number."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def shown(number: int) -> str:
    """A number as an LSN."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_of(name: str, size: int) -> tuple[int, int] | None:
    """The timeline and the first LSN of a WAL file of that name; None for any other file."""
    if re.fullmatch(r"[0-9A-F]{24}", name) is None:
        return None
    per_log = 0x100000000 // size
    return int(name[:8], 16), (int(name[8:16], 16) * per_log + int(name[16:], 16)) * size
