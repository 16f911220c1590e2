"""Checks that this process can accept and run actions: a writable store, an engine that ticks and does not stop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent import clock
from agent.engine.engine import Engine
from agent.errors import StoreUnavailable
from agent.store import Store

FRESH = 1.0
"""Seconds for which a result is reused: it limits the writes that unauthenticated callers cause."""
LATE = 10.0
"""The engine counts as stuck after this many intervals without a tick; an interval counts as 1 s at least."""


@dataclass(frozen=True)
class Part:
    """The health of one part of the process. `about` describes it for people."""

    ok: bool
    about: str


class Health:
    """Used from any thread; concurrent callers share one check."""

    def __init__(self, store: Store, engine: Engine, interval: float) -> None:
        self._store, self._engine = store, engine
        self._late = LATE * max(1.0, interval)
        self._lock = threading.Lock()
        self._checked = -FRESH
        self._parts: dict[str, Part] = {}

    def parts(self) -> dict[str, Part]:
        """Every part by its name, checked within the last `FRESH` seconds."""
        with self._lock:
            if clock.monotonic() >= self._checked + FRESH:
                checks: dict[str, Callable[[], Part]] = {"store": self._check_store, "engine": self._check_engine}
                self._parts = {name: check() for name, check in checks.items()}
                self._checked = clock.monotonic()
            return self._parts

    def _check_store(self) -> Part:
        try:
            # Needs the lock for writing, and changes nothing.
            self._store.write(lambda connection: None)
        except StoreUnavailable as error:
            return Part(False, f"cannot be written: {'; '.join(error.layers)}")
        return Part(True, "can be written")

    def _check_engine(self) -> Part:
        if self._engine.stopping.is_set():
            return Part(False, "is stopping: starts no further action")
        if (age := self._engine.seconds_since_tick) > self._late:
            return Part(False, f"has not looked at the queue for {age:.0f} s")
        return Part(True, self._engine.executes)
