"""A request to stop that a waiting thread or a selector notices at once."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Stop:
    """Can be requested once, with a reason; later requests are ignored. Thread-safe.

    Its creator closes it (or uses it as a context manager) after every wait on its `fileno()` has
    ended. Otherwise it is closed with its last reference.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler may interrupt `request` in the same thread and call it again.
        self._lock = threading.RLock()
        self._requested = threading.Event()
        self._reason: str | None = None
        self._eventfd: int | None = None  # made on demand: most users never need it

    def request(self, reason: str) -> None:
        """Request the stop because of `reason`; later calls change nothing."""
        with self._lock:
            if self._requested.is_set():
                return
            self._reason = reason
            self._requested.set()
            if self._eventfd is not None:
                os.eventfd_write(self._eventfd, 1)

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    @property
    def reason(self) -> str | None:
        """The reason of the request; None before it."""
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True as soon as the stop is requested."""
        return self._requested.wait(seconds)

    def fileno(self) -> int:
        """A descriptor that becomes readable with the request (never read from it)."""
        with self._lock:
            if self._eventfd is None:
                self._eventfd = os.eventfd(int(self.requested), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._eventfd

    def close(self) -> None:
        """Close the descriptor; `requested` stays as it is."""
        with self._lock:
            if self._eventfd is not None:
                os.close(self._eventfd)
                self._eventfd = None

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
