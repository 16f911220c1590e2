"""Answers of slow questions: the last one at once, and a newer one asked for in the background."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from agent import clock

T = TypeVar("T")


class Remembered(Generic[T]):
    """Used from any thread; one question at a time. `ask` raises nothing."""

    def __init__(self, ask: Callable[[], T], fresh: float, first: T) -> None:
        """`fresh`: seconds after which the answer is asked for again; `first`: what is answered before."""
        self._ask, self._fresh = ask, fresh
        self._lock = threading.Lock()
        self._answer = first
        self._asked = -fresh
        self._answered = threading.Event()

    def now(self, seconds: float = 0.0) -> T:
        """The newest answer; waits so many seconds at most where there is none yet."""
        with self._lock:
            now = clock.monotonic()
            if now >= self._asked + self._fresh:
                self._asked = now
                threading.Thread(target=self._look, name="question in the background", daemon=True).start()
        self._answered.wait(seconds)
        return self._answer

    def _look(self) -> None:
        try:
            self._answer = self._ask()
        finally:
            self._answered.set()
