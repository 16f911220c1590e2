"""Whoever the configuration names is told of every final action; begun by the executor of the queue alone."""

import time
from collections.abc import Iterable

from agent import log
from agent.callbacks.receiver import Receiver
from agent.config import Settings
from agent.store import Store, outbox

GRACE = 0.25
"""Seconds in which what is being told at a stop may still be taken; as many again to see that it has ended."""


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
        """Begin to tell nothing more."""
        for receiver in self._receivers or ():
            receiver.stop()

    def end(self) -> None:
        """Tell nothing any more: what is being told is cut after `GRACE`, and told again by the next executor.

        Called once nobody calls `begin` any more.
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
