"""The loop that runs the queue."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from agent import clock, log
from agent.callbacks import Callbacks
from agent.config import Settings
from agent.engine.holds import Holds
from agent.engine.lock import ExecutorLock
from agent.engine.performance import Performance, kind_of
from agent.errors import StoreUnavailable
from agent.kinds.base import Done, Failed, Running
from agent.kinds.registry import Registry
from agent.models import Claimed, State
from agent.store import Store, actions

T = TypeVar("T")

RELOADED = 3.0
"""Seconds in which the process before a reload lets go of the queue, unless a step of it runs."""
RETRY = 1.0
"""Seconds between tries to write to a database that cannot be written."""


class Executor:
    """Runs the actions of one database, in order, one at a time, in whichever thread calls `drain`."""

    def __init__(self, store: Store, registry: Registry, settings: Settings, changed: Callable[[], None]) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._changed = changed
        self._history_bytes = settings.actions.history_bytes
        self.holds = Holds(settings, registry)
        self._passed_over = 0  # the place in the order up to which it was logged what is held
        self._lock = ExecutorLock(settings.agent.db)
        self._callbacks = Callbacks(store, settings)
        self._busy = threading.Lock()
        self._wanted = threading.Event()
        self._rest = threading.Event()  # set: look at once at what the running action waits for
        self._stopping = threading.Event()
        self._current: Performance | None = None
        self._refused_since: float | None = None
        self._refused_told = False

    def want(self) -> bool:
        """Note that there may be work; false where a drain that will look is on its way already."""
        if self._wanted.is_set():
            return False
        self._wanted.set()
        return True

    def drain(self) -> None:
        """Run all that waits. Called again while that is under way, it looks after the running action instead.

        `_wanted` is cleared before each look and read again after `_busy` was let go, so that whoever
        asks in between is heard by one of the two.
        """
        self._wanted.set()
        while self._wanted.is_set() and not self._stopping.is_set():
            if not self._busy.acquire(blocking=False):
                self.look_after()
                return
            try:
                self._wanted.clear()
                self._execute()
            except StoreUnavailable as error:
                log.store_unavailable(error.layers)
            finally:
                self._current = None
                self._busy.release()

    def look_after(self) -> None:
        """Stop the running action where it was cancelled, by any agent of this database, or ran out of time."""
        self._callbacks.wake()  # one that waited may have been cancelled too
        if (current := self._current) is None:
            return
        current.check_deadline()
        try:
            if actions.cancel_requested(self._store, current.action.seq):
                current.cancel()
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
        if current.stop.requested:
            self._rest.set()

    def expire(self) -> None:
        """Fail the waiting actions whose `Not-After` has passed."""
        try:
            expired = actions.expire(self._store)
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
            return
        if expired:
            log.expired(expired)
            self._callbacks.wake()
            self._changed()

    def scrub(self) -> None:
        """Leave no bytes of an erased secret in the database's log; put off to the next tick where it must be."""
        try:
            self._store.scrub()
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)

    def stop(self, timeout: float) -> bool:
        """Begin nothing more, let the step under way end and let go of the queue; false where it did not end."""
        self._stopping.set()
        self._rest.set()
        self._callbacks.stop()
        ended = self._step_ended(timeout)
        # Before the next executor tells anything: receivers are told in order.
        self._callbacks.end()
        if ended:
            self._lock.release()
        return ended

    def _step_ended(self, timeout: float) -> bool:
        """Wait for the step under way, which may still be cancelled or run out of time."""
        deadline = clock.monotonic() + timeout
        while not self._busy.acquire(timeout=min(self._settings.actions.execute_interval, timeout)):
            if clock.monotonic() >= deadline:
                return False
            self.look_after()
        return True

    def _execute(self) -> None:
        performance = self._first()
        while performance is not None:
            performance = self._perform(performance)

    def _first(self) -> Performance | None:
        """What to begin with: what the executor before this one left, else the head of the queue."""
        if not (self._lock.held or self._take_lock()):
            return None
        self._callbacks.begin()
        self._callbacks.wake()
        if left := actions.running(self._store):
            return self._take_over(left)
        held = self.holds.kinds()
        return self._begin(actions.claim(self._store, held), held)

    def _perform(self, performance: Performance) -> Performance | None:
        """Step an action until it is final; returns the next one, claimed by the same commit."""
        self._current = performance
        # What it was set for was the action before; a stop that comes now is seen by the loop.
        self._rest.clear()
        with performance.stop:
            while not self._stopping.is_set():
                outcome = performance.next()
                if not isinstance(outcome, Running):
                    return self._finish(performance, outcome)
                self._record(performance, measured=outcome.measured)
                self._wait(min(outcome.after, performance.seconds_left))
            self._leave(performance)
        return None

    def _take_lock(self) -> bool:
        try:
            taken = self._lock.take()
        except OSError as error:
            raise StoreUnavailable("the lock cannot be taken", layers=[str(error)]) from error
        if taken:
            log.executing(str(self._lock.path))
        else:
            self._tell_refused()
        return taken

    def _tell_refused(self) -> None:
        """Log once that another process executes, where that is not a reload: there the lock is free soon."""
        now = clock.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        elif not self._refused_told and now - self._refused_since >= RELOADED:
            self._refused_told = True
            log.not_executing(str(self._lock.path), self._lock.holder())

    def _take_over(self, left: Claimed) -> Performance:
        action, interrupted = left.action, not left.handed_over
        log.resumed(action, interrupted)
        if left.handed_over:
            # From here on a crash is an interruption again.
            actions.hand_over(self._store, action.seq, False)
        return self._performance(left, interrupted=interrupted)

    def _begin(self, claimed: Claimed | None, held: Sequence[str]) -> Performance | None:
        if held:
            self._tell_passed_over(claimed, held)
        if claimed is None:
            return None
        log.started(claimed.action)
        self._changed()
        return self._performance(claimed, interrupted=False)

    def _tell_passed_over(self, claimed: Claimed | None, held: Sequence[str]) -> None:
        """Log each action that the claimed one went past, once."""
        before = claimed.action.seq if claimed else actions.LAST
        with suppress(StoreUnavailable):  # what was claimed must run, told or not
            for action in actions.passed_over(self._store, held, self._passed_over, before):
                log.held(action)
                self._passed_over = action.seq

    def _performance(self, claimed: Claimed, *, interrupted: bool) -> Performance:
        kind = kind_of(claimed, self._registry, self._settings)
        timeout = self._settings.actions.timeouts.get(claimed.action.kind, kind.timeout)
        return Performance(claimed, kind, timeout, interrupted=interrupted)

    def _record(self, performance: Performance, *, measured: bool) -> None:
        """A payload that says nothing new is no transition."""
        if performance.payload == performance.recorded:
            return
        self._written(
            lambda: actions.record(
                self._store,
                performance.action.seq,
                performance.payload,
                measured=measured,
                history_bytes=self._history_bytes,
            )
        )
        performance.recorded = performance.payload
        performance.version += 1
        self._changed()

    def _finish(self, performance: Performance, outcome: Done | Failed) -> Performance | None:
        action = performance.action
        state = State.DONE if isinstance(outcome, Done) else State.FAILED
        held = self.holds.kinds()
        how: dict[str, Any] = {
            "outcome": performance.outcome(outcome),
            "claim_next": not self._stopping.is_set(),
            "has_secrets": performance.has_secrets,
            "history_bytes": self._history_bytes,
        }
        claimed = self._written(
            lambda: actions.finish(self._store, action.seq, state, outcome.payload, outcome.message, held=held, **how)
        )
        log.finished(action, state, outcome.message)
        self._callbacks.wake()
        self.scrub()
        self._changed()
        return self._begin(claimed, held)

    def _leave(self, performance: Performance) -> None:
        """Leave a running action between two steps; the one after goes on with it as if nothing had been."""
        action = performance.action
        if not performance.interrupted:
            actions.hand_over(self._store, action.seq, True)
            log.handed_over(action)

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self._rest.wait(seconds) and not self._stopping.is_set():
            self._rest.clear()

    def _written(self, write: Callable[[], T]) -> T:
        """What a step did must be written down: try until there is room, or the agent is stopped."""
        while True:
            try:
                return write()
            except StoreUnavailable as error:
                log.store_unavailable(error.layers)
                if self._stopping.wait(RETRY):
                    raise
