"""A counter of changes of actions: a waiting thread misses no change."""

import threading


class Changes:
    """Used from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._number = 0

    @property
    def number(self) -> int:
        """The number of changes so far."""
        return self._number

    def announce(self) -> None:
        """Count a change and wake the waiting threads."""
        with self._condition:
            self._number += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Return once there are more changes than `seen`, or after `seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._number != seen, seconds)
