"""`Prefer: wait=N` (RFC 7240): hold an answer back until there is something new, without using up the server."""

import re
import threading
import time
from collections.abc import Callable

from flask import request

from agent.config import Settings

LONGEST = 60.0
"""Seconds; a longer wish is capped."""
WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]+)"?\s*(;.*)?', re.IGNORECASE)


class Waiters:
    """Those who wait now: half of the server's threads at most, so that the others find one."""

    def __init__(self, changes: threading.Condition, stopping: threading.Event, settings: Settings) -> None:
        self._changes = changes
        self._stopping = stopping
        self._places = threading.Semaphore(settings.api.threads // 2)
        # Another agent on the same database changes actions without telling this one.
        self._look_every = settings.actions.execute_interval

    def wait(self, seconds: float, is_new: Callable[[], bool]) -> None:
        """Return when `is_new`, after `seconds`, or at once where no place is left or the agent stops."""
        if seconds <= 0 or not self._places.acquire(blocking=False):
            return
        try:
            self._wait(time.monotonic() + seconds, is_new)
        finally:
            self._places.release()

    def _wait(self, deadline: float, is_new: Callable[[], bool]) -> None:
        with self._changes:
            while not (is_new() or self._stopping.is_set()) and (left := deadline - time.monotonic()) > 0:
                self._changes.wait(min(left, self._look_every))


def preferred_wait() -> float:
    """The seconds that this request would wait; 0 where it says none or nothing that can be read."""
    for preference in request.headers.get("Prefer", "").split(","):
        if found := WAIT.fullmatch(preference):
            digits = found[1].lstrip("0")
            return min(float(digits or 0), LONGEST) if len(digits) < 10 else LONGEST
    return 0.0
