"""Reads pieces of an action's output, also while commands append to it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.processes.transcript import whole


class Piece(NamedTuple):
    """A piece of an output, from `offset` up to `next`. `end`: the end of the whole output.

    `offset` is greater than requested if the bytes before it were dropped. `truncated`: bytes were dropped anywhere.
    """

    text: bytes
    offset: int
    next: int
    end: int
    truncated: bool


def read(folder: Path, offset: int, limit: int) -> Piece:
    """Up to `limit` bytes of whole characters from `offset`; if negative, from the end. Raises `OSError`."""
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
    except FileNotFoundError:  # a segment was dropped since the listing
        return read(folder, offset, limit)
    if begins + len(text) < after[-1]:
        text = whole(text)
    return Piece(text, begins, begins + len(text), after[-1], truncated)


def _contiguous(folder: Path, segments: Sequence[tuple[int, int]], offset: int, limit: int) -> Iterator[bytes]:
    """Up to `limit` contiguous bytes from `offset`."""
    for begins, size in segments:
        if begins > offset or limit <= 0:
            return
        with (folder / str(begins)).open("rb") as file:
            file.seek(offset - begins)
            text = file.read(min(size - (offset - begins), limit))
        yield text
        offset, limit = offset + len(text), limit - len(text)


def end(folder: Path) -> int:
    """The number of bytes written so far, including dropped ones; 0 if there is no output."""
    segments = _sizes(folder)
    return sum(segments[-1]) if segments else 0


def _sizes(folder: Path) -> list[tuple[int, int]]:
    """Start and size of each segment, in order; empty if there is no output."""
    while True:
        try:
            names = sorted((name for name in os.listdir(folder) if name.isdigit()), key=int)
            return [(int(name), (folder / name).stat().st_size) for name in names]
        except FileNotFoundError:  # there is no output, or a segment was dropped since the listing
            if not folder.exists():
                return []
