"""The executor's lock: at most one process per database executes; the kernel releases it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from agent import clock, log

RELOADED = 3.0
"""Seconds within which the process before a reload releases the queue, unless it runs a step."""


class ExecutorLock:
    """An `flock` on `<db>.lock`. The kernel releases it with the end of the process, also after a kill."""

    def __init__(self, db: Path) -> None:
        self.path = db.with_name(f"{db.name}.lock")
        self._fd: int | None = None
        self._refused_since: float | None = None
        self._refusal_logged = False

    @property
    def held(self) -> bool:
        return self._fd is not None

    def take(self) -> bool:
        """Try once; False while another process has the lock. Logs which process executes. Raises `OSError`."""
        if (fd := _locked(self.path)) is None:
            self._log_refusal()
            return False
        self._fd = fd
        # The pid is for the log of a second agent; the lock itself decides which process executes.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        log.executing(str(self.path))
        return True

    def holder(self) -> str:
        """The pid in the lock file, of the process that executes; `unknown` if there is none."""
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                written = file.read(20).strip()
        except OSError:
            return "unknown"
        return written.decode() if written.isdigit() else "unknown"

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _log_refusal(self) -> None:
        """Log once that another process executes; not during a reload, which frees the lock soon."""
        now = clock.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        elif not self._refusal_logged and now - self._refused_since >= RELOADED:
            self._refusal_logged = True
            log.not_executing(str(self.path), self.holder())


def _locked(path: Path) -> int | None:
    """A descriptor of the file with the lock on it; None while another process has the lock. Raises `OSError`."""
    # No link: it could lead to a file that another user locks.
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
