"""The body of a request while it arrives, and as the application reads it (`wsgi.input`)."""

import sys
from collections.abc import Sequence

from agent.server.chunks import Chunks, Unreadable

UNREAD = 64 * 1024
"""Bytes: a longer unread body is not received; the connection is closed."""


class BodyIncomplete(BaseException):
    """The application reads what has not arrived. The worker receives it and calls the application once more.

    So the application checks rights first, and no thread waits for a body. Not an `Exception`, which the application
    would answer.
    """


class AmbiguousLength(ValueError):
    """The headers do not say clearly where the body ends."""


class Body:
    """Not thread-safe: it has one owner at a time, as its connection has."""

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
        """How many bytes are to be received: enough to keep the connection, until the application reads."""

    @property
    def long(self) -> bool:
        """Whether it is too long to be received before anybody wants it."""
        return self._length >= UNREAD

    @property
    def size(self) -> int:
        """The most bytes that are received of it, as far as is known."""
        return self.wanted if self._chunks else min(self._length, self.wanted)

    @property
    def complete(self) -> bool:
        """Whether nothing more will come."""
        return self._broken or (self._chunks.ended if self._chunks else len(self._bytes) == self._length)

    @property
    def there(self) -> bool:
        """Whether as much has been received as is wanted."""
        return self.complete or len(self._bytes) >= self.wanted

    @property
    def left(self) -> bool:
        """Whether bytes may follow that belong to it: another request cannot be read behind them."""
        unread = self._read == 0 and (self._chunks is not None or self.long)
        return self._broken or not self.complete or unread

    def take(self, received: bytearray) -> None:
        """Move from the buffer what belongs to the body, as far as it is wanted."""
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
        """The client sends no more."""
        self._broken |= not self.complete

    def release(self) -> None:
        """Free the memory after the answer: the WSGI environment is a cycle, which the collector frees late."""
        self._bytes.clear()

    def rewind(self) -> None:
        """The application is called once more."""
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end, all unless given.

        Raises `BodyIncomplete`, and `OSError` for chunks that break off.
        """
        end = self._read + size if size >= 0 else self._length if self._chunks is None else sys.maxsize
        if not self.complete and len(self._bytes) < end:
            self.wanted = end
            raise BodyIncomplete
        if self._broken and self._chunks is not None and len(self._bytes) < end:
            raise ConnectionError("the chunks break off")
        with memoryview(self._bytes) as there:
            found = bytes(there[self._read : end])
        self._read += len(found)
        return found
