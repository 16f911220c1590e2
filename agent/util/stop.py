"""A request to stop what is running now, which a waiting thread or a selector notices at once."""

from __future__ import annotations

import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Stop:
    """Asked for once, with a reason; the first reason stays. Used from any thread.

    As a context manager it is closed with its owner: its creator closes it, after all who wait
    on its `fileno()` have ended. One without an owner is closed with its last reference.
    """

    def __init__(self) -> None:
        # Reentrant: a signal handler may ask while the same thread is asking.
        self._lock = threading.RLock()
        self._asked = threading.Event()
        self._reason: str | None = None
        self._eventfd: int | None = None  # most who may be stopped never wait on it

    def request(self, reason: str) -> None:
        """Ask to stop because of `reason`; later calls change nothing."""
        with self._lock:
            if self._asked.is_set():
                return
            self._reason = reason
            self._asked.set()
            if self._eventfd is not None:
                os.eventfd_write(self._eventfd, 1)

    @property
    def requested(self) -> bool:
        return self._asked.is_set()

    @property
    def reason(self) -> str | None:
        """Why it was asked for; None until it is."""
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; True as soon as the stop is requested."""
        return self._asked.wait(seconds)

    def fileno(self) -> int:
        """A descriptor that is readable from the request on (never read from it)."""
        with self._lock:
            if self._eventfd is None:
                self._eventfd = os.eventfd(int(self.requested), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._eventfd

    def close(self) -> None:
        """Give the descriptor back; the answer of `requested` stays."""
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
