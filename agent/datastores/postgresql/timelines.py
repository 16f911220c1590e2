"""Timelines of PostgreSQL: parse histories and positions, and find the fork of two servers."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(r"^\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Branch:
    """A timeline and the LSN at which it forks from its parent; 0 for the first timeline."""

    timeline: int
    begin: int


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a server: its branches, the newest last, and the end of its WAL."""

    branches: tuple[Branch, ...]
    end: int

    @property
    def timeline(self) -> int:
        """The newest timeline."""
        return self.branches[-1].timeline

    def end_of(self, index: int) -> int:
        """The LSN at which a branch forks or ends."""
        return self.branches[index + 1].begin if index + 1 < len(self.branches) else self.end


@dataclass(frozen=True, slots=True)
class Fork:
    """The last common point of two servers, and the bytes of WAL that the first server has past it.

    `ahead`: both are on the same timeline and the first has more WAL.
    """

    timeline: int
    lsn: int
    past: int
    ahead: bool


def branches_of(history: str, timeline: int) -> tuple[Branch, ...]:
    """Parse the content of a history file of that timeline; the first timeline has none (empty)."""
    left = [(int(found[1]), lsn(found[2])) for found in LINE.finditer(history)]
    timelines = [each for each, _ in left] + [timeline]
    begins = [0] + [switch for _, switch in left]
    return tuple(Branch(*each) for each in zip(timelines, begins, strict=True))


def fork_of(mine: Position, theirs: Position) -> Fork | None:
    """The fork of `mine` from `theirs`; None without a common timeline."""
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
    """The number of an LSN such as 0/3000148."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def shown(number: int) -> str:
    """The LSN of a number, as text."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_of(name: str, size: int) -> tuple[int, int] | None:
    """Timeline and first LSN of the WAL file of that name; None for other files."""
    if re.fullmatch(r"[0-9A-F]{24}", name) is None:
        return None
    per_log = 0x100000000 // size
    return int(name[:8], 16), (int(name[8:16], 16) * per_log + int(name[16:], 16)) * size
