"""Growing pauses for polling: at most a tenth of the time already waited."""

import time

from agent.util.poll import pause_after


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
        return pause_after(self.passed)
