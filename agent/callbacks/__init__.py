"""Whoever the configuration names is told of every final action; begun by the executor of the queue alone."""

import time

from agent import log
from agent.callbacks.receiver import Receiver
from agent.config import Settings
from agent.store import Store, outbox

GRACE = 1.0
"""Seconds that a stop waits beyond the time that a receiver gets to answer."""


class Callbacks:
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
        ids, removed = outbox.set_receivers(self._store, configured.urls if configured else ())
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
        """Begin to tell nothing more; what is being told gets its time to be answered, and no longer."""
        if self._receivers and self._settings.callbacks:
            for receiver in self._receivers:
                receiver.stop()
            deadline = time.monotonic() + self._settings.callbacks.timeout + GRACE
            for receiver in self._receivers:
                receiver.join(max(0.0, deadline - time.monotonic()))
