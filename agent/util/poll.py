"""Polling: waits for a fact that no event reports, with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeVar

    from agent.util.stop import Stop

    Fact = TypeVar("Fact")

SHORTEST, LONGEST = 0.005, 0.25  # seconds between two looks
SHARE = 0.1  # of the time passed: a fact is noticed at most this fraction too late


def poll(look: Callable[[], Fact], seconds: float, stop: Stop | None = None, before: float = 0.0) -> Fact:
    """Call `look` until it returns a true value, `seconds` have passed or `stop` is requested; return its last value.

    `before`: seconds that earlier calls waited for the same fact.
    """
    for last in looks(seconds, stop, before):
        if (fact := look()) or last:
            break
    return fact


def looks(seconds: float, stop: Stop | None = None, before: float = 0.0) -> Iterator[bool]:
    """Yield for each look, with growing pauses between; true for the last one, after `seconds` or at a stop."""
    began = time.monotonic()
    last = seconds <= 0 or (stop is not None and stop.requested)
    while not last:
        yield False
        passed = time.monotonic() - began
        pause = max(0.0, min(pause_after(before + passed), seconds - passed))
        last = _stopped(stop, pause) or time.monotonic() - began >= seconds
    yield True


def pause_after(passed: float) -> float:
    """Seconds until the next look after `passed` seconds of waiting."""
    return min(LONGEST, max(SHORTEST, passed * SHARE))


def _stopped(stop: Stop | None, seconds: float) -> bool:
    if stop is None:
        time.sleep(seconds)
        return False
    return stop.wait(seconds)
