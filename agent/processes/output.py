"""The end of a command's output, in memory or in a file that can be read while the command runs."""

from __future__ import annotations

import os
from contextlib import suppress

from agent.util import atomic_files

TAIL = 65536  # bytes kept at least; a file has at most twice as many


class Tail:
    """The last `size` bytes of the added data."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * self._size:
            del self._kept[: len(self._kept) - self._size]

    def text(self) -> str:
        return self._kept[max(0, len(self._kept) - self._size) :].decode(errors="replace")


class TailFile:
    """The last bytes of the added data, in a file that is complete at any time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._kept = b""
        self._written = 0
        self.add(b"")

    def add(self, data: bytes) -> None:
        """Add data. On a full disk the file lags behind until there is space; the command must not fail."""
        self._kept += data
        with suppress(OSError):
            self.catch_up()

    def catch_up(self) -> None:
        """Write the data that the file lacks. Raises `OSError`."""
        if len(self._kept) > 2 * TAIL or self._written == 0:
            self._replace()
        else:
            self._append()

    def _replace(self) -> None:
        self._kept, self._written = self._kept[-TAIL:], 0
        atomic_files.replace(self._path, self._kept, durable=False)
        self._written = len(self._kept)

    def _append(self) -> None:
        with open(self._path, "ab", buffering=0) as file:
            while self._written < len(self._kept):
                self._written += file.write(self._kept[self._written :])


def read_tail(path: str | os.PathLike[str]) -> str:
    """The content of a TailFile, at most TAIL bytes."""
    return (atomic_files.read(path) or b"")[-TAIL:].decode(errors="replace")
