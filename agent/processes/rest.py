"""Detects that just started processes are at rest, which shows that their start has not failed at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from agent.processes.process import GONE, stat_of

REST = 0.02
"""Seconds in which all processes must wait and none may use the CPU: two ticks of the kernel's clock of CPU times."""
LOOK_AGAIN = 0.005
"""Seconds until the next look at working processes."""
WAITS = "SI"
"""States of a thread that waits for an event; a thread that waits for a disk or the CPU has another state."""
SLEEP = "nanosleep"
"""Part of the name of the kernel's sleep function. A program that sleeps is not at rest: it may wake and fail.

The kernel shows the function only to root and to the user of the process. Only the first thread is checked: others may
sleep also at rest."""

Resting = frozenset[tuple[int, int, int]]


class RestCheck:
    """Checks the processes of one start repeatedly."""

    def __init__(self) -> None:
        self._seen: Resting | None = None
        self._since = 0.0

    def left(self, age: float, stays: float, pids: Iterable[int]) -> float:
        """Seconds until the next look; 0 if the processes are `stays` seconds old or at rest for `REST` seconds."""
        if age >= stays:
            return 0.0
        now, looked = time.monotonic(), _resting(pids)
        if looked is None or looked != self._seen:
            self._seen, self._since = looked, now
        if looked is None:
            return min(LOOK_AGAIN, stays - age)
        return min(max(0.0, self._since + REST - now), stays - age)


def _resting(pids: Iterable[int]) -> Resting | None:
    """Each process with its start and CPU time; None if there is none, or one works or is invisible."""
    found = []
    for pid in pids:
        stat = stat_of(pid)
        if stat is None or not _all_wait(pid) or _sleeps(pid):
            return None
        found.append((pid, stat.started, stat.cpu))
    return frozenset(found) or None


def _all_wait(pid: int) -> bool:
    """Whether all threads of the process wait."""
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
    except OSError:  # the process has ended, or the kernel shows no names
        return False
