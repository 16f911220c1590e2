"""Requests that wait for a fact without a thread of their own: one thread checks the facts of all of them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from flask import request

from agent.engine.changes import Changes
from agent.server.parking import MAY_PARK, WAITED, Parked
from agent.util.poll import pause_after

Look = Callable[[], object]


@dataclass(frozen=True)
class Fact:
    """The condition of a wait: `is_there(look())` is true.

    Facts with the same `name` are checked once for all requests. A fact that changes of actions do not announce is
    checked with growing pauses. An exception of `look` ends the wait: the request raises it again.
    """

    look: Look
    is_there: Callable[[object], bool] = bool
    name: str | None = None
    announced: bool = True


@dataclass
class Wait:
    """A waiting request. `due`: the time of the next check if no change is announced."""

    fact: Fact
    deadline: float
    resume: Callable[[], None]
    due: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def next_due(self, now: float, look_every: float) -> float:
        """The time of the next check after `now`."""
        pause = look_every if self.fact.announced else min(look_every, pause_after(now - self.began))
        return min(self.deadline, now + pause)


class Waiters:
    """All waiting requests of this process."""

    def __init__(self, changes: Changes, stopping: threading.Event, look_every: float) -> None:
        """`look_every`: seconds between two checks without a change, as another agent may change actions too."""
        self._changes, self._stopping, self._look_every = changes, stopping, look_every
        self._waits: dict[int, Wait] = {}
        self._numbers = count()
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None

    def __len__(self) -> int:
        """How many requests wait now."""
        return len(self._waits)

    def wait(self, seconds: float, fact: Fact) -> None:
        """Return when the fact is true, after `seconds`, or at once if the agent stops.

        Raises `Parked`; after the wait the server calls the application again, and this returns.
        """
        if seconds <= 0 or WAITED in request.environ or _is_over(fact, {}):
            return
        number, deadline = next(self._numbers), time.monotonic() + seconds
        parked = Parked(
            lambda resume: self._add(number, Wait(fact, deadline, resume)),
            lambda: self._remove(number),
            first=fact.name is None,
        )
        if MAY_PARK in request.environ:
            raise parked
        over = threading.Event()
        parked.park(over.set)
        over.wait()

    def _add(self, number: int, wait: Wait) -> None:
        with self._lock:
            self._waits[number] = wait
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="waiters", daemon=True)
                self._watcher.start()
        self._changes.announce()  # the fact may have become true before the wait was added

    def _remove(self, number: int) -> None:
        with self._lock:
            self._waits.pop(number, None)

    def _watch(self) -> None:
        seen = self._changes.number - 1
        while True:
            number = self._changes.number
            self._look(all_of_them=number != seen)
            seen = number
            self._changes.wait(seen, self._pause())

    def _look(self, *, all_of_them: bool) -> None:
        """End the waits that are over."""
        now, looked = time.monotonic(), dict[str, object]()
        with self._lock:
            waits = list(self._waits.items())
        over = []
        for number, wait in waits:
            if not (all_of_them or wait.due <= now):
                continue
            wait.due = wait.next_due(now, self._look_every)
            if wait.deadline <= now or self._stopping.is_set() or _is_over(wait.fact, looked):
                over.append((number, wait))
        for number, wait in over:
            self._remove(number)
            wait.resume()

    def _pause(self) -> float:
        with self._lock:
            due = min((wait.due for wait in self._waits.values()), default=time.monotonic() + 3600.0)
        return max(0.0, due - time.monotonic())


def _is_over(fact: Fact, looked: dict[str, object]) -> bool:
    """Whether the fact is true; `looked` has the results by name."""
    try:
        if fact.name is None:
            return fact.is_there(fact.look())
        if fact.name not in looked:
            looked[fact.name] = fact.look()
        return fact.is_there(looked[fact.name])
    except Exception:
        return True  # the request raises it again and answers it
