"""One receiver of callbacks: sends it the events of actions in order and retries each until accepted or dropped."""

import random
import threading

from agent import clock, log
from agent.auth.secret_file import SecretUnreadable
from agent.callbacks import message
from agent.callbacks.post import NotAccepted, Post
from agent.config import Callbacks
from agent.errors import StoreUnavailable
from agent.store import Store, outbox
from agent.store.outbox import PendingCallback

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 900.0
"""Seconds between two attempts: doubled after each failure, from the first to the longest."""

JITTER = 0.2
"""Each pause is extended by up to this fraction, so that many agents do not retry at the same moment."""

LONGEST_RETRY_AFTER = 3600.0
"""Maximum seconds of a receiver's `Retry-After`; longer ones are shortened to it."""

GONE = 410
"""The HTTP status that ends a subscription."""

DATABASE_RETRY = 1.0
"""Seconds between attempts to use a database that cannot be read or written."""


class Receiver:
    """A thread that posts to one URL. A delivered callback is removed before the next one is sent.

    The wait of a callback counts attempts and the pauses between them, by the monotonic clock. Other time, such as a
    suspend of the machine, does not count, because no delivery was attempted.
    """

    def __init__(self, store: Store, receiver: int, url: str, options: Callbacks, node: str) -> None:
        self._store = store
        self._id = receiver
        self._url = url
        self._options = options
        self._node = node
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._post = Post(url, options.timeout)  # the one in progress, or the next
        self._delivered: PendingCallback | None = None  # accepted by the receiver, still in the database
        self._failing = False
        self._failure_stored = True  # the previous process may have stored one
        self._pause = 0.0  # without the jitter
        self._waiting = 0.0  # the current pause, with the jitter
        self._counted_until: float | None = None  # end of the wait time counted so far, by `clock.monotonic`
        self._unrecorded = 0.0  # seconds of wait that are not in the database yet
        self._thread = threading.Thread(target=self._run, name=f"callbacks-{receiver}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        """Start no further request."""
        self._stopping.set()
        self._wake.set()

    def cut(self) -> None:
        """After `stop`: end the request in progress, accepted or not."""
        self._post.cut()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._deliver_all()
            except StoreUnavailable as error:
                log.store_unavailable(error.layers)
                self._stopping.wait(DATABASE_RETRY)
                continue
            self._wake.wait()
            self._wake.clear()

    def _deliver_all(self) -> None:
        while True:
            self._remove_delivered()
            # Created before the check of `_stopping`: a concurrent `cut` reaches either this request or that check.
            self._post = Post(self._url, self._options.timeout)
            if self._stopping.is_set():
                return
            if (head := outbox.next_pending(self._store, self._id)) is None:
                self._counted_until, self._unrecorded = None, 0.0
                return
            if (refusal := self._deliver(head)) and not self._stopping.is_set():
                self._end_subscription() if refusal.status == GONE else self._postpone(refusal)

    def _deliver(self, head: PendingCallback) -> NotAccepted | None:
        """Deliver one callback; the refusal, or None if it was accepted."""
        self._counted_until = self._counted_until or clock.monotonic()
        try:
            content = message.body(self._store, head)
            self._post.send(content, message.headers(self._options, self._node, head, content))
        except NotAccepted as refusal:
            return refusal
        except SecretUnreadable as reason:
            return NotAccepted(str(reason))
        except StoreUnavailable:
            raise
        except Exception as error:  # a bug must not end the thread
            return NotAccepted(type(error).__name__)
        self._delivered = head
        return None

    def _remove_delivered(self) -> None:
        """Remove the delivered callback from the database."""
        if self._delivered is None:
            return
        waited = self._waited() if self._failing or self._failure_stored else None
        outbox.remove_delivered(self._store, self._id, self._delivered.event_id, waited)
        if self._failing:
            log.receiver_answers(self._url)
        self._reset()

    def _reset(self) -> None:
        self._delivered, self._failing, self._failure_stored = None, False, False
        self._pause = self._waiting = self._unrecorded = 0.0
        self._counted_until = None

    def _end_subscription(self) -> None:
        """End the subscription: the receiver answered 410."""
        log.subscription_ended(self._url, outbox.end(self._store, self._id))
        self._reset()

    def _postpone(self, refusal: NotAccepted) -> None:
        """Wait until the next attempt or the stop of the agent."""
        if not self._failing:
            log.receiver_fails(self._url, str(refusal))
        self._unrecorded, self._counted_until = self._waited(), clock.monotonic()
        self._failing, self._pause = True, min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
        requested = min(refusal.retry_after, LONGEST_RETRY_AFTER)
        self._waiting = max(self._pause, requested) * random.uniform(1.0, 1.0 + JITTER)
        try:
            self._record_wait(str(refusal))
        except StoreUnavailable as error:  # the next attempt records the time, after the same pause
            log.store_unavailable(error.layers)
        self._stopping.wait(self._waiting)

    def _record_wait(self, failure: str) -> None:
        """Record how long the callback has waited, and drop callbacks that waited longer than `callbacks.keep`."""
        dropped = outbox.postpone(self._store, self._id, self._unrecorded, self._waiting, self._options.keep, failure)
        self._unrecorded, self._failure_stored = 0.0, True
        if dropped:
            log.callbacks_dropped(self._url, dropped, self._options.keep)

    def _waited(self) -> float:
        """Seconds of wait that are not in the database yet."""
        now = clock.monotonic()
        return self._unrecorded + min(now - (self._counted_until or now), self._waiting + self._options.timeout)
