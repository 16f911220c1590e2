"""The output of an action's commands, in files that are readable while the commands run; bounded, without secrets.

    ID/0          the first segment
    ID/1048576    the segment that begins at this byte, and so on; the first and the newest segments are kept

Several processes append: the agent, the runner of a job, a resync. Each locks the folder while it appends a piece.
"""

from __future__ import annotations

import codecs
import fcntl
import os
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Sink = Callable[[bytes], object]

SEGMENTS = 4
"""Maximum files of an action's output: the first one and the newest others."""
MASK = b"********"
GUESSED_BELOW = 8
"""A secret of fewer bytes could be guessed from the rest of its line, so the whole line is masked."""
LONGEST_LINE = 65536
"""Maximum bytes of a line that are held back to mask it as a whole."""


class Transcript:
    """The output of one action in its own folder, at most `limit` bytes. `secrets`: all spellings of the secrets."""

    def __init__(self, folder: str | os.PathLike[str], limit: int, secrets: Sequence[str] = ()) -> None:
        self.folder = folder
        self._limit = limit
        self._secrets = tuple(secrets)
        self._room = max(4, limit // SEGMENTS)
        self._lost = 0  # bytes that could not be written

    @classmethod
    def of(cls, saved: Any) -> Transcript:
        """The transcript from another process's `saved`."""
        return cls(saved["folder"], saved["limit"], saved["secrets"])

    def saved(self) -> dict[str, Any]:
        """The data for another process to append to this transcript; contains the secrets."""
        return {"folder": str(self.folder), "limit": self._limit, "secrets": list(self._secrets)}

    def say(self, line: str) -> None:
        """Append a line of the agent."""
        with self.stream() as add:
            add(f"{line}\n".encode(errors="replace"))

    @contextmanager
    def stream(self) -> Iterator[Sink]:
        """A sink for one pipe; it appends the text without secrets, and the held-back rest at the end."""
        mask, decoder = Masking(self._secrets), codecs.getincrementaldecoder("utf-8")("replace")

        def add(data: bytes) -> None:
            self._append(mask.add(decoder.decode(data).encode()))

        try:
            yield add
        finally:
            self._append(mask.add(decoder.decode(b"", final=True).encode()) + mask.rest())

    def _append(self, text: bytes) -> None:
        """Append the text. On a full disk the bytes are dropped and counted; the command must not fail."""
        if not text:
            return
        try:
            with self._locked() as folder:
                while text:
                    text = text[self._write(folder, text) :]
        except OSError:
            self._lost += len(text)

    def _write(self, folder: int, text: bytes) -> int:
        """Write the beginning of the text to the newest segment or to a new one; returns the number of bytes."""
        begins, size = _newest(folder)
        piece = whole(text[: max(0, self._room - size)])
        if self._lost or not piece:
            begins, piece = begins + size + self._lost, whole(text[: self._room])
            self._make_room(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(str(begins), flags, 0o600, dir_fd=folder)
        try:
            self._lost = 0
            return os.write(descriptor, piece)
        finally:
            os.close(descriptor)

    def _make_room(self, folder: int) -> None:
        for begins in _segments(folder)[1 : -(SEGMENTS - 2)]:
            os.unlink(str(begins), dir_fd=folder)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The folder, locked against other threads and processes."""
        with suppress(FileExistsError):
            os.makedirs(self.folder, 0o700)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


class Masking:
    """Masks secrets in text that arrives in pieces; holds back only bytes that may be the beginning of a secret.

    A line with a short secret is masked as a whole; so if there are short secrets, each line is held back to its end.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        spelled = sorted({each.encode(errors="replace") for each in secrets if each}, key=len, reverse=True)
        self._long = [each for each in spelled if len(each) >= GUESSED_BELOW]
        self._short = [each for each in spelled if len(each) < GUESSED_BELOW]
        self._held = b""

    def add(self, text: bytes) -> bytes:
        """Add a piece; returns the text that is ready."""
        if not (self._long or self._short):
            return text
        self._held += text
        for secret in self._long:
            self._held = self._held.replace(secret, MASK)
        ready = self._ready()
        shown, self._held = self._held[:ready], self._held[ready:]
        return self._without_short(shown)

    def rest(self) -> bytes:
        """The held-back text, after the last piece."""
        shown, self._held = self._held, b""
        return self._without_short(shown)

    def _ready(self) -> int:
        """The number of held bytes that cannot be part of a secret."""
        secrets = [*self._long, *self._short]
        ready = len(self._held) - max(_overlap(self._held, secret) for secret in secrets)
        if self._short:
            line = self._held.rfind(b"\n", 0, ready) + 1
            return line if line or ready < LONGEST_LINE else ready
        return ready

    def _without_short(self, text: bytes) -> bytes:
        if not any(secret in text for secret in self._short):
            return text
        return b"".join(self._line(each) for each in text.splitlines(keepends=True))

    def _line(self, line: bytes) -> bytes:
        if not any(secret in line for secret in self._short):
            return line
        return MASK + (b"\n" if line.endswith(b"\n") else b"")


def both(first: Sink, second: Sink) -> Sink:
    """A sink that passes everything to two others."""

    def add(data: bytes) -> None:
        first(data)
        second(data)

    return add


def _segments(folder: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def _newest(folder: int) -> tuple[int, int]:
    """The start and size of the newest segment."""
    segments = _segments(folder)
    if not segments:
        return 0, 0
    return segments[-1], os.stat(str(segments[-1]), dir_fd=folder).st_size


def whole(text: bytes) -> bytes:
    """The text without an incomplete UTF-8 character at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text[-4:])
    return text[: len(text) - len(decoder.getstate()[0])]


def _overlap(text: bytes, secret: bytes) -> int:
    """The number of bytes at the end of the text that may be the beginning of the secret."""
    at = max(0, len(text) - len(secret) + 1) - 1
    while (at := text.find(secret[:1], at + 1)) >= 0:
        if secret.startswith(text[at : at + 16]) and secret.startswith(text[at:]):
            return len(text) - at
    return 0
