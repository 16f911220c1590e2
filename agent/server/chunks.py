"""Incremental decoder of a chunked body (RFC 9112, section 7.1)."""

import re

LONGEST_LINE = 8190
"""Maximum bytes of a chunk's size with its extensions, and of a trailer field."""
LONGEST_TRAILERS = 32 * 1024
SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")


class Unreadable(ValueError):
    """The bytes are not valid chunked encoding."""


class Chunks:
    """Removes the chunked body from a buffer and leaves the bytes after it, such as the next request."""

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        self._line = self._size
        self._searched = 0
        self._trailers = 0

    def decode(self, buffer: bytearray, into: bytearray, most: int) -> None:
        """Move decoded bytes to `into` until it holds `most` bytes. Raises `Unreadable`.

        The buffer is shortened only once, at the end: linear time.
        """
        taken = 0
        while not self.ended and len(into) < most:
            if self._left:
                piece = buffer[taken : taken + self._left]
                if not piece:
                    break
                into += piece
                self._left -= len(piece)
                taken += len(piece)
            else:
                end = buffer.find(b"\r\n", taken + self._searched)
                if (end if end >= 0 else len(buffer)) - taken > LONGEST_LINE:
                    raise Unreadable("a line is too long")
                if end < 0:
                    # The last byte may be the CR of the line's CRLF.
                    self._searched = max(0, len(buffer) - taken - 1)
                    break
                self._searched = 0
                self._line(bytes(buffer[taken:end]))
                taken = end + 2
        del buffer[:taken]

    def _size(self, line: bytes) -> None:
        if not (found := SIZE.fullmatch(line)):
            raise Unreadable("a chunk has no size")
        self._left = int(found[1], 16)
        self._line = self._end_of_chunk if self._left else self._trailer

    def _end_of_chunk(self, line: bytes) -> None:
        if line:
            raise Unreadable("a chunk is longer than its size")
        self._line = self._size

    def _trailer(self, line: bytes) -> None:
        """Check and ignore a trailer field."""
        self._trailers += len(line) + 2
        if self._trailers > LONGEST_TRAILERS:
            raise Unreadable("the trailers are too long")
        if line and not TRAILER.fullmatch(line):
            raise Unreadable("a trailer is no field")
        self.ended = not line
