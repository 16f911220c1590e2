"""A folder as a cache: deletes its content and keeps the folder."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.caches.base import Cache, CacheFailed, Cleared
from agent.util.stop import Stop

SLICE = 1.0
"""Maximum seconds of one call; the next one removes the rest."""
DEEPEST = 100
"""Maximum levels of folders; each takes two descriptors."""
TRIES = 3
"""Attempts to empty a folder that another program keeps filling."""
ABOVE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder(Cache):
    """Counts files, and the bytes of files without another hard link.

    Each file is removed relative to the descriptor of its folder, so that no symbolic link leads out of the cache,
    not even a link created meanwhile. Mounted file systems are kept.
    """

    def clear(self, stop: Stop) -> Cleared:
        path = self.settings.path or Path()
        with _opened(path) as folder:
            emptying = Emptying(folder, stop)
            emptying.run()
        return Cleared(
            {"files": emptying.files, "bytes": emptying.bytes}, emptying.problem(path), unfinished=emptying.stopped
        )


class _TimeIsUp(Exception):
    """The next call removes the rest."""


class Emptying:
    """One call's work on one folder, and its results."""

    def __init__(self, folder: int, stop: Stop) -> None:
        self.files = self.bytes = 0
        self.stopped = False
        self._removed = self._left = 0
        self._first_left = ""
        self._folder = folder
        self._place = _place(folder)
        self._stop = stop
        self._deadline = time.monotonic() + SLICE

    def run(self) -> None:
        try:
            self._empty(self._folder, "", 1)
        except _TimeIsUp:
            self.stopped = True

    def problem(self, path: Path) -> str | None:
        if self.stopped or not self._left:
            return None
        return f"{self._left} of the entries of {path} cannot be removed, the first is {self._first_left}"

    def _empty(self, folder: int, path: str, depth: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                self._check_time()
                self._try(folder, entry.name, f"{path}{entry.name}", depth)

    def _check_time(self) -> None:
        # Each call removes at least one entry: otherwise the next one would end at the same place.
        if self._stop.requested or (self._removed and time.monotonic() > self._deadline):
            raise _TimeIsUp

    def _try(self, folder: int, name: str, path: str, depth: int) -> None:
        try:
            self._remove(folder, name, path, depth)
        except FileNotFoundError:
            return  # another process removed it first
        except OSError as error:
            self._leave(path, error.strerror or str(error))

    def _remove(self, folder: int, name: str, path: str, depth: int) -> None:
        found = os.lstat(name, dir_fd=folder)
        if stat.S_ISDIR(found.st_mode):
            self._remove_folder(folder, name, path, depth)
            return
        os.unlink(name, dir_fd=folder)
        self._removed += 1
        self.files += 1
        self.bytes += found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0

    def _remove_folder(self, folder: int, name: str, path: str, depth: int) -> None:
        left = self._left
        for attempt in range(TRIES):
            self._empty_inside(folder, name, path, depth)
            if self._left > left:
                return  # an entry is left and already counted, with its reason
            try:
                os.rmdir(name, dir_fd=folder)
                self._removed += 1
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or attempt == TRIES - 1:
                    raise

    def _empty_inside(self, folder: int, name: str, path: str, depth: int) -> None:
        if depth == DEEPEST:
            raise OSError(errno.ELOOP, f"it lies more than {DEEPEST} folders deep")
        inside = os.open(name, FOLDER, dir_fd=folder)
        try:
            if _place(inside) != self._place:
                raise OSError(errno.EXDEV, "something is mounted there")
            self._empty(inside, f"{path}/", depth + 1)
        finally:
            os.close(inside)

    def _leave(self, path: str, why: str) -> None:
        self._left += 1
        if self._left == 1:
            self._first_left = f"{path.encode(errors='backslashreplace').decode()}: {why}"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The folder, opened without following any symbolic link in its path. Raises `CacheFailed`."""
    folder, reached = os.open("/", ABOVE), Path("/")
    try:
        for name in path.parts[1:]:
            reached /= name
            inside = _open(folder, name, reached, path)
            os.close(folder)
            folder = inside
        yield folder
    finally:
        os.close(folder)


def _open(above: int, name: str, reached: Path, path: Path) -> int:
    try:
        return os.open(name, FOLDER if reached == path else ABOVE, dir_fd=above)
    except OSError as error:
        why = f"{reached} is a symbolic link" if reached.is_symlink() else error.strerror
        raise CacheFailed(f"the folder {path} cannot be cleared: {why}") from None


def _place(folder: int) -> tuple[int, str]:
    """The file system and the mount of a folder: a file system may be mounted inside itself."""
    with open(f"/proc/self/fdinfo/{folder}", encoding="ascii") as lines:
        mount = next((line for line in lines if line.startswith("mnt_id:")), "")
    return os.fstat(folder).st_dev, mount
