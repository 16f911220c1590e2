"""How often something may be said that others give cause for: the rest is counted."""

import threading
from collections.abc import Callable

from agent import clock


class RateLimiter:
    """So many a second, from any thread."""

    def __init__(self, most: int, now: Callable[[], float] = clock.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._since = float("-inf")
        self._taken = 0
        self._left_out = 0

    def take(self) -> int | None:
        """How many were left out since the last one that was not; None where this one is left out too."""
        with self._lock:
            if (now := self._now()) - self._since >= 1:
                self._since, self._taken = now, 0
            if self._taken >= self._most:
                self._left_out += 1
                return None
            self._taken += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
