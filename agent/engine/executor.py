"""The executor's thread: runs one action after another, step by step."""

import threading
from collections.abc import Callable

from agent import clock, log
from agent.callbacks import CallbackReceivers
from agent.config import Settings
from agent.engine.continuity import Continuity
from agent.engine.execution import Execution
from agent.engine.holds import Holds
from agent.engine.lock import ExecutorLock
from agent.engine.queue import Queue
from agent.errors import StoreUnavailable
from agent.kinds.base import Running
from agent.kinds.base.registry import Registry
from agent.store import Store, transitions


class Executor:
    """Runs the actions of one database, in order, one at a time.

    One event wakes its thread: for a new action, for a stop of the running action, and for the stop of the executor.
    The thread clears the event before it reads the queue, so that no call is lost.
    """

    def __init__(self, store: Store, registry: Registry, settings: Settings, changed: Callable[[], None]) -> None:
        self._store = store
        self._lock = ExecutorLock(settings.agent.db)
        self.continuity = Continuity(store, settings)
        self._changed = changed
        self._callbacks = CallbackReceivers(store, settings)
        self._wakeup = threading.Event()
        self._stopping = threading.Event()
        self.holds = Holds(settings, registry)
        self.queue = Queue(store, registry, settings, self.holds, self._callbacks, changed, self._stopping)
        self._draining = threading.Lock()
        self._current: Execution | None = None

    @property
    def has_lock(self) -> bool:
        """Whether this process runs the queue."""
        return self._lock.held

    @property
    def place(self) -> str:
        """The process that runs the queue, for people."""
        return "runs the queue" if self._lock.held else f"standby: process {self._lock.holder()} runs the queue"

    def start(self) -> None:
        """Begin to run the queue, in a thread of its own."""
        threading.Thread(target=self._run, name="executor", daemon=True).start()

    def wake(self) -> None:
        """Wake the thread: there may be an action to run."""
        self._wakeup.set()

    def stop(self, timeout: float) -> bool:
        """Claim no further action, let the running step end, release the queue; False if the step did not end in time.

        Meanwhile `check_running` still stops an action that is cancelled or runs out of time.
        """
        self._stopping.set()
        self._wakeup.set()
        self._callbacks.stop()
        ended = self._draining.acquire(timeout=timeout)
        # They end before the lock is released: only one executor may send to a receiver, to keep the order.
        self._callbacks.end()
        if ended:
            self.continuity.note_used()
            self._lock.release()
            self._draining.release()
        return ended

    def check_running(self) -> None:
        """Stop the running action if it was cancelled, by any agent of this database, or ran out of time."""
        self._callbacks.wake()  # a waiting action may have been cancelled too
        if (current := self._current) is None:
            return
        current.check_deadline()
        try:
            if transitions.cancel_requested(self._store, current.action.seq):
                current.cancel()
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
        if current.stop.requested:
            self._wakeup.set()

    def drain(self) -> None:
        """Run the actions that may start now, until none is left or the executor is stopped."""
        with self._draining:
            try:
                execution = self._first()
                while execution is not None:
                    execution = self._execute(execution)
            except StoreUnavailable as error:  # the next tick tries again
                log.store_unavailable(error.layers)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wakeup.wait()
            self._wakeup.clear()
            try:
                self.drain()
            except BaseException as error:  # a bug, or sys.exit() in a step: this thread must not end
                log.executor_raised(error)

    def _first(self) -> Execution | None:
        """The first action to run: the one that the previous executor left, else the head of the queue."""
        if self._stopping.is_set() or not self._hold_lock():
            return None
        if self.continuity.check():
            self._changed()
        self._callbacks.begin()
        self._callbacks.wake()
        return self.queue.left_running() or self.queue.claim()

    def _hold_lock(self) -> bool:
        try:
            return self._lock.held or self._lock.take()
        except OSError as error:
            raise StoreUnavailable("the lock cannot be acquired", layers=[str(error)]) from error

    def _execute(self, execution: Execution) -> Execution | None:
        """Take the steps of an action until it is final; returns the next one, claimed by the same commit."""
        self._current = execution
        try:
            with execution.stop:
                while not self._stopping.is_set():
                    outcome = execution.next()
                    if not isinstance(outcome, Running):
                        return self.queue.finish(execution, outcome)
                    self.queue.record(execution, measured=outcome.measured)
                    self._pause(execution, outcome.after)
                self.queue.hand_over(execution)
        finally:
            self._current = None
        return None

    def _pause(self, execution: Execution, seconds: float) -> None:
        """Wait until the next step, or until there is a reason to take none."""
        until = clock.monotonic() + min(seconds, execution.seconds_left)
        while (left := until - clock.monotonic()) > 0 and not (execution.stop.requested or self._stopping.is_set()):
            self._wakeup.wait(left)
            self._wakeup.clear()
