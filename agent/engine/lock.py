"""Who executes: at most one process for a database, as long as it lives."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class ExecutorLock:
    """An `flock` on `<db>.lock`. The kernel gives it up with the process, however that ends."""

    def __init__(self, db: Path) -> None:
        self.path = db.with_name(f"{db.name}.lock")
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def take(self) -> bool:
        """Try once; false while another process has it. Raises `OSError`."""
        # No link: it could lead to a file that another user locks.
        fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        # For the log of a second agent alone: the lock itself says who executes.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return True

    def holder(self) -> str:
        """The pid that the process with the lock has written down; `unknown` where it has not."""
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
