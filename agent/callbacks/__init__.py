"""Sends the events of actions to the configured receivers. Only the executor of the queue sends callbacks."""

import time
from collections.abc import Iterable

from agent import log
from agent.callbacks.receiver import Receiver
from agent.config import Settings
from agent.store import Store, outbox

GRACE = 0.25
"""Seconds for a request in progress at a stop to finish, and again for its thread to end after the cut."""


class CallbackReceivers:
    """The receivers of one database, while this process executes its queue."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._receivers: list[Receiver] | None = None

    def begin(self) -> None:
        """Update the stored receivers from the configuration and start their threads; later calls do nothing.

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
        """Make the receivers check for new callbacks."""
        for receiver in self._receivers or ():
            receiver.wake()

    def stop(self) -> None:
        """Start no further request."""
        for receiver in self._receivers or ():
            receiver.stop()

    def end(self) -> None:
        """Stop sending. A request in progress is cut after `GRACE`; the next executor sends it again.

        Called after the last call of `begin`.
        """
        self.stop()  # also receivers that `begin` started after the first `stop`
        receivers = self._receivers or ()
        _join(receivers, GRACE)
        for receiver in receivers:
            receiver.cut()
        _join(receivers, GRACE)


def _join(receivers: Iterable[Receiver], seconds: float) -> None:
    """Wait up to `seconds` until all threads have ended."""
    deadline = time.monotonic() + seconds
    for receiver in receivers:
        receiver.join(max(0.0, deadline - time.monotonic()))
