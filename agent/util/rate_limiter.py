"""Rate limiter: a maximum of events for each second; further ones are counted."""

import threading
from collections.abc import Callable

from agent import clock


class RateLimiter:
    """Permits `most` events a second. Thread-safe."""

    def __init__(self, most: int, now: Callable[[], float] = clock.monotonic) -> None:
        self._most = most
        self._now = now
        self._lock = threading.Lock()
        self._since = float("-inf")
        self._taken = 0
        self._left_out = 0

    def take(self) -> int | None:
        """The number of events refused since the last permitted one; None if this event is refused too."""
        with self._lock:
            if (now := self._now()) - self._since >= 1:
                self._since, self._taken = now, 0
            if self._taken >= self._most:
                self._left_out += 1
                return None
            self._taken += 1
            left_out, self._left_out = self._left_out, 0
            return left_out
