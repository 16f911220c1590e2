"""Reports the phases of a resync and the progress of the present phase."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from agent.datastores.resync_report import Report

EVERY = 0.5
"""Seconds between two reported measurements."""
WINDOW = 20
"""Number of measurements from which the rate is computed."""


class ResyncProgress:
    """Called with the name of each phase when it begins; a detail may follow the name after a colon."""

    def __init__(self, report: Callable[[Report], None], now: Callable[[], float] = time.monotonic) -> None:
        self._report, self._now = report, now
        self._phases: list[str] = []
        self._phase = ""
        self._seen: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def __call__(self, phase: str) -> None:
        name, _, detail = phase.partition(": ")
        if name != self._phase:
            self._phase = name
            self._seen.clear()
            if name not in self._phases:
                self._phases.append(name)
        self._report(self._state({"detail": detail} if detail else None))

    def measure(self, done: int, total: int | None) -> None:
        """Report the bytes done in this phase and the total if known. Calls more often than `EVERY` are ignored."""
        now = self._now()
        if self._seen and now < self._seen[-1][0] + EVERY and done != total:
            return
        self._seen.append((now, done))
        self._report(self._state(self._measured(done, total)))

    def _state(self, progress: dict[str, Any] | None) -> Report:
        return Report(self._phase, list(self._phases), progress)

    def _measured(self, done: int, total: int | None) -> dict[str, Any]:
        """`bytes_done`, `bytes_total`, `percent`, `rate` in bytes a second, `seconds_left`; None: not known."""
        began, at_first = self._seen[0]
        latest, _ = self._seen[-1]
        rate = (done - at_first) / (latest - began) if latest > began else None
        left = (total - done) / rate if total is not None and rate else None
        return {
            "bytes_done": done,
            "bytes_total": total,
            "percent": round(min(100.0, 100 * done / total), 1) if total else None,
            "rate": None if rate is None else round(rate),
            "seconds_left": None if left is None else round(max(0.0, left)),
        }
