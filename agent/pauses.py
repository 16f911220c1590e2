"""Pauses between looks at what sends no event: short at first, never more than a tenth of the time already spent."""

import time

SHORTEST, LONGEST = 0.005, 0.25
"""Seconds of the first pause, and of every pause after `LONGEST` / `SHARE` seconds."""
SHARE = 0.1


class Pauses:
    """The pauses of one wait, counted from its beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def passed(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._began

    def next(self) -> float:
        """Seconds until the next look."""
        return min(max(SHORTEST, SHARE * self.passed), LONGEST)
