"""Caches the result of a slow query; refreshes it in the background."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from agent import clock

T = TypeVar("T")


class Remembered(Generic[T]):
    """The cached result of `ask`, which must not raise. Thread-safe; one query runs at a time."""

    def __init__(self, ask: Callable[[], T], fresh: float, first: T) -> None:
        """`fresh`: seconds after which `ask` is called again; `first`: the value until its first result."""
        self._ask, self._fresh = ask, fresh
        self._lock = threading.Lock()
        self._result = first
        self._refreshed_at = -fresh
        self._answered = threading.Event()

    def now(self, seconds: float = 0.0) -> T:
        """The newest result; waits up to `seconds` for the first one."""
        with self._lock:
            now = clock.monotonic()
            if now >= self._refreshed_at + self._fresh:
                self._refreshed_at = now
                threading.Thread(target=self._refresh, name="background query", daemon=True).start()
        self._answered.wait(seconds)
        return self._result

    def _refresh(self) -> None:
        try:
            self._result = self._ask()
        finally:
            self._answered.set()
