"""The phases of a resync, and how far the present phase is: each line of a job's output is the whole state."""

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

EVERY = 0.5
"""Seconds between two measurements that are reported."""
WINDOW = 20
"""Measurements that the rate is computed from."""


class Progress:
    """Called with the name of each phase as it begins. A detail may stand behind the name, after a colon."""

    def __init__(self, report: Callable[[dict[str, Any]], None], now: Callable[[], float] = time.monotonic) -> None:
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
        self._report(self._state() | ({"progress": {"detail": detail}} if detail else {}))

    def measure(self, done: int, total: int | None) -> None:
        """Report bytes done in this phase, of a total where that is known; more often than `EVERY` is ignored."""
        now = self._now()
        if self._seen and now < self._seen[-1][0] + EVERY and done != total:
            return
        self._seen.append((now, done))
        self._report(self._state() | {"progress": self._measured(done, total)})

    def _state(self) -> dict[str, Any]:
        return {"phase": self._phase, "phases": list(self._phases)}

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


def to_stdout(state: dict[str, Any]) -> None:
    """Report on standard output, a JSON object a line."""
    print(json.dumps(state), flush=True)
