"""The executor's access to the queue: claims actions, records payloads, finishes actions."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent import log
from agent.auth import configured_secrets
from agent.callbacks import CallbackReceivers
from agent.config import Settings
from agent.engine.execution import Execution, kind_of
from agent.engine.hold_announcer import HoldAnnouncer
from agent.engine.holds import Holds
from agent.errors import StoreUnavailable
from agent.kinds.base import Done, Failed
from agent.kinds.base.masking import spellings
from agent.kinds.base.registry import Registry
from agent.models import Claimed, State
from agent.processes.transcript import Transcript
from agent.store import Store, transitions

T = TypeVar("T")

RETRY = 1.0
"""Seconds between attempts to write to a database that cannot be written."""


class Queue:
    """The queue of one database, for the process that executes it. Announces every change, and wakes the callbacks."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: Settings,
        holds: Holds,
        callbacks: CallbackReceivers,
        changed: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._holds = holds
        self._callbacks = callbacks
        self._changed = changed
        self._stopping = stopping
        self._history_bytes = settings.actions.history_bytes
        self._secrets = configured_secrets.places(settings)
        self._announcer = HoldAnnouncer(store, holds)

    def left_running(self) -> Execution | None:
        """The RUNNING action of the previous executor; interrupted, unless it was handed over."""
        if (left := transitions.running(self._store)) is None:
            return None
        log.resumed(left.action, interrupted=not left.handed_over)
        if left.handed_over:
            # From here on a crash is an interruption again.
            transitions.hand_over(self._store, left.action.seq, False)
        return self._execution(left, interrupted=not left.handed_over)

    def claim(self) -> Execution | None:
        """Claim the oldest action that is not held."""
        held = self._holds.kinds()
        return self._begin(transitions.claim(self._store, held, self._holds.closed()))

    def record(self, execution: Execution, *, measured: bool) -> None:
        """Record the payload of a step. An unchanged payload is no transition."""
        if execution.payload == execution.recorded:
            return
        self._retried(
            lambda: transitions.record(
                self._store,
                execution.action.seq,
                execution.payload,
                measured=measured,
                history_bytes=self._history_bytes,
            )
        )
        execution.recorded = execution.payload
        execution.version += 1
        self._changed()

    def finish(self, execution: Execution, outcome: Done | Failed) -> Execution | None:
        """Store the end of an action; returns the next one, claimed by the same commit."""
        state = State.DONE if isinstance(outcome, Done) else State.FAILED
        held = self._holds.kinds()
        claimed = self._retried(
            lambda: transitions.finish(
                self._store,
                execution.action.seq,
                state,
                outcome.payload,
                outcome.message,
                outcome=execution.outcome(outcome),
                claim_next=not self._stopping.is_set(),
                has_secrets=execution.has_secrets,
                held=held,
                closed=self._holds.closed(),
                history_bytes=self._history_bytes,
            )
        )
        log.finished(execution.action, state, outcome.message)
        self._callbacks.wake()
        self.wipe_secrets()
        self._changed()
        return self._begin(claimed)

    def hand_over(self, execution: Execution) -> None:
        """Leave a running action between two steps; the next executor continues it."""
        if not execution.interrupted:
            transitions.hand_over(self._store, execution.action.seq, True)
            log.handed_over(execution.action)

    def expire(self) -> None:
        """Fail the waiting actions whose `Not-After` has passed."""
        try:
            expired = transitions.expire(self._store)
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)
            return
        if expired:
            log.expired(expired)
            self._callbacks.wake()
            self._changed()

    def announce_holds(self) -> None:
        """Announce the actions that became held since the last call."""
        try:
            if self._announcer.announce():
                self._callbacks.wake()
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)

    def wipe_secrets(self) -> None:
        """Remove the bytes of erased secrets from the write-ahead log; the next tick repeats a postponed removal."""
        try:
            self._store.wipe_secrets()
        except StoreUnavailable as error:
            log.store_unavailable(error.layers)

    def _begin(self, claimed: Claimed | None) -> Execution | None:
        if claimed is None:
            return None
        log.started(claimed.action)
        self._callbacks.wake()
        self._changed()
        return self._execution(claimed, interrupted=False)

    def _execution(self, claimed: Claimed, *, interrupted: bool) -> Execution:
        kind = kind_of(claimed, self._registry, self._settings)
        timeout = self._settings.actions.timeouts.get(claimed.action.kind, kind.timeout)
        configured = configured_secrets.read(self._secrets)
        transcript = self._transcript(claimed, configured)
        return Execution(
            claimed, kind, timeout, interrupted=interrupted, transcript=transcript, configured_secrets=configured
        )

    def _transcript(self, claimed: Claimed, configured: Sequence[str]) -> Transcript:
        of_args = [value for value in claimed.secrets.values() if isinstance(value, str)]
        folder = self._settings.agent.output / claimed.action.id
        return Transcript(folder, self._settings.actions.output_limit, spellings([*of_args, *configured]))

    def _retried(self, write: Callable[[], T]) -> T:
        """Repeat a write until it succeeds or the executor stops: the result of a step must be stored."""
        while True:
            try:
                return write()
            except StoreUnavailable as error:
                log.store_unavailable(error.layers)
                if self._stopping.wait(RETRY):
                    raise
