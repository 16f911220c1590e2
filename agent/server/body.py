"""The body of a request: filled by the event loop while it arrives, read by the application as `wsgi.input`."""

import sys
from collections.abc import Sequence

from agent.server.chunks import Chunks, Unreadable

UNREAD = 64 * 1024
"""Bytes: a longer unread body is not received; the connection is closed."""


class BodyIncomplete(BaseException):
    """The application reads bytes that have not arrived yet. The server receives them and calls the application again.

    The application thus checks permissions before a body is received, and no thread waits for a body. Not an
    `Exception`, which the application would turn into an answer.
    """


class AmbiguousLength(ValueError):
    """Content-Length and Transfer-Encoding contradict each other, or one is repeated."""


class Body:
    """The body of one request. Not thread-safe: it has one owner at a time, like its connection."""

    def __init__(self, headers: Sequence[tuple[str, str]]) -> None:
        """`headers` with their names in upper case. Raises `AmbiguousLength`."""
        coding = [value.rpartition(",")[2].strip().lower() for name, value in headers if name == "TRANSFER-ENCODING"]
        lengths = [value for name, value in headers if name == "CONTENT-LENGTH"]
        if (coding and (coding[-1] != "chunked" or lengths)) or len(lengths) > 1:
            raise AmbiguousLength
        self._chunks = Chunks() if coding else None
        self._length = int(lengths[0]) if lengths else 0
        self._bytes = bytearray()
        self._read = 0
        self._broken = False
        self.wanted = UNREAD
        """Bytes to receive. Until the application reads, enough to keep the connection usable after the answer."""

    @property
    def long(self) -> bool:
        """Whether the Content-Length is too large to receive the body before the application reads it."""
        return self._length >= UNREAD

    @property
    def size(self) -> int:
        """Maximum bytes that the body may take in memory, from `wanted` and Content-Length."""
        return self.wanted if self._chunks else min(self._length, self.wanted)

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived, or the client has ended it early."""
        return self._broken or (self._chunks.ended if self._chunks else len(self._bytes) == self._length)

    @property
    def ready(self) -> bool:
        """Whether `wanted` bytes or the whole body have arrived."""
        return self.complete or len(self._bytes) >= self.wanted

    @property
    def is_unread(self) -> bool:
        """Whether bytes of the body may still arrive. Then no further request can be read on this connection."""
        unread = self._read == 0 and (self._chunks is not None or self.long)
        return self._broken or not self.complete or unread

    def take(self, received: bytearray) -> None:
        """Move bytes of the body out of the buffer `received`, up to `wanted` in total."""
        if self._chunks is None:
            count = min(self._length, self.wanted) - len(self._bytes)
            if count > 0:
                self._bytes += received[:count]
                del received[:count]
            return
        try:
            self._chunks.decode(received, self._bytes, self.wanted)
        except Unreadable:
            self._broken = True

    def end(self) -> None:
        """Note that the client has closed its side."""
        self._broken |= not self.complete

    def release(self) -> None:
        """Free the memory after the answer. The WSGI environment is a reference cycle, which would be freed late."""
        self._bytes.clear()

    def rewind(self) -> None:
        """Read from the start again, for the next call of the application."""
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end of the body; without `size` the whole rest.

        Raises `BodyIncomplete` for bytes that have not arrived yet, `OSError` for truncated chunks.
        """
        end = self._read + size if size >= 0 else self._length if self._chunks is None else sys.maxsize
        if not self.complete and len(self._bytes) < end:
            self.wanted = end
            raise BodyIncomplete
        if self._broken and self._chunks is not None and len(self._bytes) < end:
            raise ConnectionError("the chunks are truncated")
        with memoryview(self._bytes) as there:
            found = bytes(there[self._read : end])
        self._read += len(found)
        return found
