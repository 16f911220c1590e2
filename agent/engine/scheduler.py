"""The life of the engine in one process: started with the worker, woken by schedule calls, stopped with it."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError

from agent import clock, log, readiness
from agent.config import Settings
from agent.engine.executor import Executor
from agent.engine.holds import Holds
from agent.engine.timer import Every, timer
from agent.errors import StoreUnavailable
from agent.kinds.registry import Registry
from agent.refused_calls import RefusedCalls
from agent.store import Store, actions, events, idempotency

PRUNE_PIECE = 50
"""Actions removed by one commit, so that no schedule call waits long for it."""
FIRST_PRUNE = 60.0
"""Seconds from the start to the first prune at most: an agent that is started often prunes too."""
REFUSED_EVERY = 60.0
"""Seconds between two events with the counts of refused calls."""
PRUNED_EVENTS = 100_000
"""Events that one prune removes at most: a clock that jumps forward erases no more than this until it is set right."""
DAY = 86400.0
"""Seconds; longer than any step."""


class Engine:
    """Drains the queue in the background: at every tick, and at once when woken."""

    def __init__(self, store: Store, registry: Registry, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self.changes = threading.Condition()
        self._executor = Executor(store, registry, settings, self.tell_changed)
        self._timer = timer()
        self.refused = RefusedCalls()
        self._refused_stored = clock.monotonic()
        self._ending = threading.Thread(target=self._end, name="engine-end", daemon=True)
        self.stopping = threading.Event()
        """Set: nothing more is begun, and whoever waits for a change is answered with what there is."""

    def start(self) -> None:
        """Begin to tick, the first time at once."""
        options = self._settings.actions
        interval = min(options.execute_interval, readiness.watchdog() / 2)
        self._timer.add_job(self._tick, Every(interval), id="drain", next_run_time=_now())
        first = _now() + timedelta(seconds=min(FIRST_PRUNE, options.prune_interval))
        self._timer.add_job(
            self._prune, Every(options.prune_interval), id="prune", max_instances=1, next_run_time=first
        )
        self._timer.start()

    def begin_stop(self) -> None:
        """Begin nothing more, and let go of the queue once the step under way has ended; returns at once."""
        with self.changes:
            if self.stopping.is_set():
                return
            self.stopping.set()
            self.changes.notify_all()
            self._ending.start()

    def stop(self, timeout: float) -> None:
        """End the ticks and wait for the step under way, `timeout` seconds at most."""
        self.begin_stop()
        self._ending.join(timeout)

    def _end(self) -> None:
        if self._timer.running:
            self._timer.shutdown(wait=False)
        self._executor.stop(DAY)
        self._store_refused()

    @property
    def holds(self) -> Holds:
        """Which kinds wait in the queue now, and why."""
        return self._executor.holds

    def wake(self) -> None:
        """There is something new in the queue."""
        if self._executor.want() and self._timer.running:
            with suppress(JobLookupError):  # it was stopped meanwhile
                self._timer.modify_job("drain", next_run_time=_now())

    def look_after(self) -> None:
        """The running action may have been asked to stop."""
        self._executor.look_after()

    def tell_changed(self) -> None:
        """Wake whoever waits for a change of an action."""
        with self.changes:
            self.changes.notify_all()

    def _tick(self) -> None:
        readiness.feed()
        self._executor.expire()
        self._executor.drain()
        self._executor.scrub()
        if clock.monotonic() - self._refused_stored > REFUSED_EVERY:
            self._store_refused()
        self._prune_early()

    def _prune_early(self) -> None:
        """Prune before it is time, where callers have made more final actions than one prune removes."""
        options = self._settings.actions
        with suppress(StoreUnavailable, JobLookupError):  # the next tick looks again
            if actions.final(self._store) > options.prune_keep + options.prune_limit:
                self._timer.modify_job("prune", next_run_time=_now())

    def _prune(self) -> None:
        options = self._settings.actions
        count = 0
        try:
            while count < options.prune_limit:
                removed = actions.prune(self._store, options.prune_keep, min(PRUNE_PIECE, options.prune_limit - count))
                count += removed
                if removed < PRUNE_PIECE:
                    break
            self._prune_events()
            while idempotency.prune(self._store) == idempotency.PIECE:
                continue
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
        if count:
            log.pruned(count)

    def _prune_events(self) -> None:
        options = self._settings.audit
        for _ in range(PRUNED_EVENTS // events.PIECE):
            if events.prune(self._store, options.keep_seconds, options.rows) < events.PIECE:
                break

    def _store_refused(self) -> None:
        """Add the counts of refused calls to the audit trail as one event."""
        self._refused_stored = clock.monotonic()
        if not (counts := self.refused.take()):
            return
        details = {"count": sum(int(each["count"]) for each in counts), "by": counts}
        try:
            self._store.write(lambda connection: events.add(connection, "calls.refused", details))
        except StoreUnavailable as error:
            self.refused.put_back(counts)
            log.store_unavailable(error.layers)


def _now() -> datetime:
    return datetime.now(UTC)
