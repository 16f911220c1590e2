"""The engine of one process: started and stopped with the worker, woken by schedule calls."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.jobstores.base import JobLookupError

from agent import clock, log
from agent.auth.refused_calls import RefusedCalls
from agent.config import Settings
from agent.engine import output
from agent.engine.changes import Changes
from agent.engine.executor import Executor
from agent.engine.holds import Holds
from agent.engine.interval import EveryTrigger, timer
from agent.errors import StoreUnavailable
from agent.kinds.base.registry import Registry
from agent.server import sd_notify
from agent.store import Store, actions, audit_events, idempotency, retention

PRUNE_PIECE = 50
"""Actions removed by one commit, so that no schedule call waits long for it."""
FIRST_PRUNE = 60.0
"""Maximum seconds from the start to the first prune: an agent that is started often prunes too."""
REFUSED_EVERY = 60.0
"""Seconds between two events with the counts of refused calls."""
PRUNED_EVENTS = 100_000
"""Maximum events that one prune removes: a clock that jumps forward erases no more before it is corrected."""
DAY = 86400.0
"""Seconds; longer than any step."""


class Engine:
    """Runs the queue in the background: at every tick, and at once when woken."""

    def __init__(self, store: Store, registry: Registry, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self.changes = Changes()
        self._stop_begins = threading.Lock()
        self._executor = Executor(store, registry, settings, self.announce_change)
        self._interval = min(settings.actions.execute_interval, sd_notify.watchdog() / 2)
        self._timer = timer(self._interval)
        self.refused = RefusedCalls()
        self._refused_stored = self._ticked = clock.monotonic()
        self._ending = threading.Thread(target=self._end, name="engine-end", daemon=True)
        self.stopping = threading.Event()
        """Set: no action is claimed any more, and long polls are answered with the present state."""

    def start(self) -> None:
        """Start the executor and the timer; the first tick is now."""
        self._executor.continuity.note_start()
        options = self._settings.actions
        self._timer.add_job(self._tick, EveryTrigger(self._interval), id="tick", next_run_time=_now())
        first = _now() + timedelta(seconds=min(FIRST_PRUNE, options.prune_interval))
        self._timer.add_job(self._prune, EveryTrigger(options.prune_interval), id="prune", next_run_time=first)
        self._timer.start()
        self._executor.start()

    def begin_stop(self) -> None:
        """Claim no further action, and release the queue once the running step has ended; returns at once."""
        with self._stop_begins:
            if self.stopping.is_set():
                return
            self.stopping.set()
            self._ending.start()
        self.changes.announce()

    def stop(self, timeout: float) -> None:
        """Stop, and wait for the running step for at most `timeout` seconds."""
        self.begin_stop()
        self._ending.join(timeout)

    def _end(self) -> None:
        self._executor.stop(DAY)  # the ticks continue meanwhile: the running step may be cancelled or run out of time
        if self._timer.running:
            self._timer.shutdown(wait=False)
        self._store_refused()

    @property
    def holds(self) -> Holds:
        """The kinds that are held now, and why."""
        return self._executor.holds

    def wake(self) -> None:
        """Wake the executor for a new action in the queue."""
        self._executor.wake()

    def check_running(self) -> None:
        """Stop the running action if it was cancelled or ran out of time."""
        self._executor.check_running()

    def announce_change(self) -> None:
        """Wake the threads that wait for a change of an action."""
        self.changes.announce()

    @property
    def seconds_since_tick(self) -> float:
        """The age of the last tick; ticks continue while an action runs."""
        return clock.monotonic() - self._ticked

    @property
    def is_executor(self) -> bool:
        """Whether this process runs the queue."""
        return self._executor.has_lock

    @property
    def executes(self) -> str:
        """The process that runs the queue, for people."""
        return self._executor.place

    def _tick(self) -> None:
        self._ticked = clock.monotonic()
        self._executor.check_running()
        if self.stopping.is_set():
            return
        sd_notify.feed()
        self._executor.queue.expire()
        self._executor.wake()
        if self.is_executor:
            self._executor.queue.announce_holds()
        self._executor.queue.wipe_secrets()
        if self.is_executor:
            self._executor.continuity.note_used()
        if clock.monotonic() - self._refused_stored > REFUSED_EVERY:
            self._store_refused()
        self._prune_early()

    def _prune_early(self) -> None:
        """Prune early if there are more final actions than one prune removes."""
        options = self._settings.actions
        with suppress(StoreUnavailable, JobLookupError):  # the next tick looks again
            if actions.final(self._store) > options.prune_keep + options.prune_limit:
                self._timer.modify_job("prune", next_run_time=_now())

    def _prune(self) -> None:
        options = self._settings.actions
        remember_ids = self._settings.api.node_protocol != "seed"  # callers may choose the ids of actions
        count = 0
        try:
            while count < options.prune_limit and not self.stopping.is_set():
                piece = min(PRUNE_PIECE, options.prune_limit - count)
                removed = retention.prune(self._store, options.prune_keep, piece, remember_ids=remember_ids)
                count += removed
                if removed < PRUNE_PIECE:
                    break
            output.remove_orphaned(self._store, self._settings.agent.output)
            self._prune_events()
            while idempotency.prune(self._store) == idempotency.PIECE:
                continue
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
        except OSError as error:
            log.output_kept(str(error))
        if count:
            log.pruned(count)

    def _prune_events(self) -> None:
        options = self._settings.audit
        for _ in range(PRUNED_EVENTS // audit_events.PIECE):
            if audit_events.prune(self._store, options.keep_seconds, options.rows) < audit_events.PIECE:
                break

    def _store_refused(self) -> None:
        """Add the counts of refused calls to the audit trail as one event."""
        self._refused_stored = clock.monotonic()
        if not (counts := self.refused.take()):
            return
        details = {"count": sum(int(each["count"]) for each in counts), "by": counts}
        try:
            self._store.write(lambda connection: audit_events.add(connection, "calls.refused", details))
        except StoreUnavailable as error:
            self.refused.put_back(counts)
            log.store_unavailable(error.layers)


def _now() -> datetime:
    return datetime.now(UTC)
