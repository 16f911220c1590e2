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
SHARE = 0.1  # of what has passed: what is found late is found that much late at most


def poll(look: Callable[[], Fact], seconds: float, stop: Stop | None = None, before: float = 0.0) -> Fact:
    """The first answer of `look` that is true, else its last one: after `seconds`, or once `stop` is requested.

    `before` is how many seconds were waited for the same fact by earlier calls.
    """
    for last in looks(seconds, stop, before):
        if (fact := look()) or last:
            break
    return fact


def looks(seconds: float, stop: Stop | None = None, before: float = 0.0) -> Iterator[bool]:
    """One item for each look at a fact, after growing pauses; true for the last look, after `seconds` or at a stop."""
    began = time.monotonic()
    last = seconds <= 0 or (stop is not None and stop.requested)
    while not last:
        yield False
        passed = time.monotonic() - began
        pause = max(0.0, min(pause_after(before + passed), seconds - passed))
        last = _stopped(stop, pause) or time.monotonic() - began >= seconds
    yield True


def pause_after(passed: float) -> float:
    """Seconds until the next look, where one waits for `passed` seconds already."""
    return min(LONGEST, max(SHORTEST, passed * SHARE))


def _stopped(stop: Stop | None, seconds: float) -> bool:
    if stop is None:
        time.sleep(seconds)
        return False
    return stop.wait(seconds)
