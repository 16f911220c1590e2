"""Whether this process can take actions and run them: by the store, the ticks of the engine and its end."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent import clock
from agent.engine.engine import Engine
from agent.errors import StoreUnavailable
from agent.store import Store

FRESH = 1.0
"""Seconds for which a look counts: callers, who need not be known, cause no more writes than that."""
LATE = 10.0
"""Ticks, and seconds, after which the engine counts as stuck."""


@dataclass(frozen=True)
class Part:
    """One thing that must be right. `about` says how it is, for people."""

    ok: bool
    about: str


class Health:
    """Used from any thread; those who ask at the same moment share one look."""

    def __init__(self, store: Store, engine: Engine, interval: float) -> None:
        self._store, self._engine = store, engine
        self._late = LATE * max(1.0, interval)
        self._lock = threading.Lock()
        self._looked = -FRESH
        self._parts: dict[str, Part] = {}

    def parts(self) -> dict[str, Part]:
        """Every part by its name, looked at within the last `FRESH` seconds."""
        with self._lock:
            if clock.monotonic() >= self._looked + FRESH:
                looks: dict[str, Callable[[], Part]] = {"store": self._look_at_store, "engine": self._look_at_engine}
                self._parts = {name: look() for name, look in looks.items()}
                self._looked = clock.monotonic()
            return self._parts

    def _look_at_store(self) -> Part:
        try:
            # Needs the lock for writing, and changes nothing.
            self._store.write(lambda connection: None)
        except StoreUnavailable as error:
            return Part(False, f"cannot be written: {'; '.join(error.layers)}")
        return Part(True, "can be written")

    def _look_at_engine(self) -> Part:
        if self._engine.stopping.is_set():
            return Part(False, "is stopping: starts no further action")
        if (age := self._engine.seconds_since_tick) > self._late:
            return Part(False, f"has not looked at the queue for {age:.0f} s")
        return Part(True, self._engine.executes)
