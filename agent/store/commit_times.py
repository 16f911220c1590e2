"""The duration of commits: most of the time that schedule calls and steps wait for the disk."""

from collections.abc import Iterator
from contextlib import contextmanager

from agent import clock

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, float("inf"))
"""Upper bounds of the buckets, in seconds."""


class CommitTimes:
    """A histogram since the start of the process. One thread at a time measures, any thread reads."""

    def __init__(self) -> None:
        self._counts = [0] * len(BOUNDS)
        self.seconds = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the block as one commit, unless it raises."""
        began = clock.monotonic()
        yield
        taken = clock.monotonic() - began
        self.seconds += taken
        self._counts[next(at for at, bound in enumerate(BOUNDS) if taken <= bound)] += 1

    def buckets(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds, each with the cumulative number of commits."""
        counts = list(self._counts)
        return [(bound, sum(counts[: at + 1])) for at, bound in enumerate(BOUNDS)]
