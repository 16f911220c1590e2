"""Whether processes that were just started have come to rest: then their start has not failed at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from agent.processes.process import GONE, stat_of

REST = 0.02
"""Seconds for which all of them must wait for something, without any of them using the CPU: two ticks of the kernel's
clock of CPU times."""
LOOK_AGAIN = 0.005
"""Seconds until the next look at processes that are at work."""
WAITS = "SI"
"""States of a thread that waits for an event; one that waits for a disk or for the CPU has another."""
SLEEP = "nanosleep"
"""In the name of the kernel's function in which a program sleeps for a time: it wakes by itself, perhaps to fail.
The kernel shows the function to root and to the user of the process. Threads other than the first may do so at rest."""

Resting = frozenset[tuple[int, int, int]]


class RestCheck:
    """Looks at the processes of one start again and again."""

    def __init__(self) -> None:
        self._seen: Resting | None = None
        self._since = 0.0

    def left(self, age: float, stays: float, pids: Iterable[int]) -> float:
        """Seconds until the next look; 0 once they are `stays` seconds old, or have been at rest for `REST` seconds."""
        if age >= stays:
            return 0.0
        now, looked = time.monotonic(), _resting(pids)
        if looked is None or looked != self._seen:
            self._seen, self._since = looked, now
        if looked is None:
            return min(LOOK_AGAIN, stays - age)
        return min(max(0.0, self._since + REST - now), stays - age)


def _resting(pids: Iterable[int]) -> Resting | None:
    """Each process with its start and CPU time; None if one is at work or cannot be seen, or if there is none."""
    found = []
    for pid in pids:
        stat = stat_of(pid)
        if stat is None or not _all_wait(pid) or _sleeps(pid):
            return None
        found.append((pid, stat.started, stat.cpu))
    return frozenset(found) or None


def _all_wait(pid: int) -> bool:
    """Whether each thread waits."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (*GONE, PermissionError):
        return False
    stats = (stat_of(f"{pid}/task/{thread}") for thread in threads)
    return all(stat is not None and stat.state in WAITS for stat in stats)


def _sleeps(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/wchan") as file:
            return SLEEP in file.read()
    except OSError:  # it is gone, or the kernel has no names
        return False
