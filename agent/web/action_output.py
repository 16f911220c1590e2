"""Reads the output of an action; `output` is the folder of all outputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.processes import transcript_reading
from agent.web import escaping

PIECE = 65536


@dataclass(frozen=True)
class OutputTail:
    """The end of an output. `text` is escaped; `cut`: there is more before it. `size`: bytes of the whole output."""

    text: str
    cut: bool
    size: int


def end(output: Path, action_id: str) -> int:
    """The number of bytes written so far; 0 if the output cannot be read."""
    try:
        return transcript_reading.end(output / action_id)
    except OSError:
        return 0


def tail(output: Path, action_id: str, most: int) -> OutputTail | None:
    """The last `most` bytes, from the start of a line; None if there is no output."""
    try:
        piece = transcript_reading.read(output / action_id, -most, most)
    except OSError:
        return None
    if not piece.text:
        return None
    text, cut = piece.text.decode(errors="replace"), piece.offset > 0
    if cut and "\n" in text[:-1]:
        text = text.partition("\n")[2]
    return OutputTail(escaping.output(text), cut, piece.end)


def whole(output: Path, action_id: str) -> Iterator[bytes]:
    """The whole stored output, in pieces of whole lines."""
    offset, held = 0, ""
    while (piece := transcript_reading.read(output / action_id, offset, PIECE)).text:
        offset = piece.next
        lines, newline, held = (held + piece.text.decode(errors="replace")).rpartition("\n")
        yield escaping.output(lines + newline).encode()
        if len(held) > PIECE:
            yield escaping.output(held).encode()
            held = ""
    yield escaping.output(held).encode()
