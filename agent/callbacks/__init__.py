"""Callbacks: each configured receiver gets the events of actions. Only the executor of the queue starts them."""

import time
from collections.abc import Iterable

from agent import log
from agent.callbacks.receiver import Receiver
from agent.config import Settings
from agent.store import Store, outbox

GRACE = 0.25
"""Seconds that a request in progress at a stop may still take; as many again to see that it has ended."""


class CallbackReceivers:
    """The receivers of one database, while this process executes its queue."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._receivers: list[Receiver] | None = None

    def begin(self) -> None:
        """Bring the receivers in step with the configuration and tell them; no more than once.

        Raises `StoreUnavailable`.
        """
        if self._receivers is not None:
            return
        configured = self._settings.callbacks
        urls, events = (configured.urls, configured.names) if configured else ((), ())
        ids, removed = outbox.set_receivers(self._store, urls, events)
        for url, count in removed.items():
            log.receiver_removed(url, count)
        self._receivers = []
        if configured:
            node = self._settings.agent.node
            self._receivers = [Receiver(self._store, ids[url], url, configured, node) for url in ids]

    def wake(self) -> None:
        """There may be something to tell."""
        for receiver in self._receivers or ():
            receiver.wake()

    def stop(self) -> None:
        """Begin to tell nothing more."""
        for receiver in self._receivers or ():
            receiver.stop()

    def end(self) -> None:
        """Send nothing more: a request in progress is cut after `GRACE`; the next executor sends it again.

        Called after the last call of `begin`.
        """
        self.stop()  # also those that were begun since
        receivers = self._receivers or ()
        _join(receivers, GRACE)
        for receiver in receivers:
            receiver.cut()
        _join(receivers, GRACE)


def _join(receivers: Iterable[Receiver], seconds: float) -> None:
    """Wait until all have ended, so many seconds at most."""
    deadline = time.monotonic() + seconds
    for receiver in receivers:
        receiver.join(max(0.0, deadline - time.monotonic()))
