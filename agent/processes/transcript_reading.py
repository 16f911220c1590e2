"""Read a piece of the output of an action, also while commands append to it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.processes.transcript import whole


class Piece(NamedTuple):
    """Bytes of an output: they begin at `offset`, the caller continues at `next`. `end`: that of the whole output.

    `offset` is greater than what was asked for where bytes before it were left out.
    """

    text: bytes
    offset: int
    next: int
    end: int
    truncated: bool


def read(folder: Path, offset: int, limit: int) -> Piece:
    """Up to `limit` bytes from `offset`, whole characters; a negative offset counts from the end. Raises `OSError`."""
    segments = _sizes(folder)
    after = [0, *(sum(each) for each in segments)]
    begins = offset if offset >= 0 else max(0, after[-1] + offset)
    truncated = any(segment[0] != expected for segment, expected in zip(segments, after, strict=False))
    found = [each for each in segments if sum(each) > begins]
    if not found:
        return Piece(b"", after[-1], after[-1], after[-1], truncated)
    begins = max(begins, found[0][0])
    try:
        text = b"".join(_contiguous(folder, found, begins, limit))
    except FileNotFoundError:  # left out since
        return read(folder, offset, limit)
    if begins + len(text) < after[-1]:
        text = whole(text)
    return Piece(text, begins, begins + len(text), after[-1], truncated)


def _contiguous(folder: Path, segments: Sequence[tuple[int, int]], offset: int, limit: int) -> Iterator[bytes]:
    """Up to `limit` bytes from `offset`, as far as no byte is missing."""
    for begins, size in segments:
        if begins > offset or limit <= 0:
            return
        with (folder / str(begins)).open("rb") as file:
            file.seek(offset - begins)
            text = file.read(min(size - (offset - begins), limit))
        yield text
        offset, limit = offset + len(text), limit - len(text)


def end(folder: Path) -> int:
    """The byte after the last one that was printed by now; 0 where nothing was."""
    segments = _sizes(folder)
    return sum(segments[-1]) if segments else 0


def _sizes(folder: Path) -> list[tuple[int, int]]:
    """Beginning and size of each segment, in order; none where the action has printed nothing."""
    while True:
        try:
            names = sorted((name for name in os.listdir(folder) if name.isdigit()), key=int)
            return [(int(name), (folder / name).stat().st_size) for name in names]
        except FileNotFoundError:  # there is no output, or a segment was left out in between
            if not folder.exists():
                return []
