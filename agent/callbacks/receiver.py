"""One receiver of callbacks: gets the events of actions in order, each retried until accepted or given up."""

import random
import threading

from agent import clock, log
from agent.auth.secret_file import SecretUnreadable
from agent.callbacks import message
from agent.callbacks.post import NotTaken, Post
from agent.config import Callbacks
from agent.errors import StoreUnavailable
from agent.store import Store, outbox
from agent.store.outbox import Head

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 900.0
"""Seconds between two attempts: they double from the one to the other."""

JITTER = 0.2
"""Each pause is longer by up to this part of it, so that many agents do not come at the same moment."""

LONGEST_RETRY_AFTER = 3600.0
"""Seconds that a receiver may ask for with `Retry-After`."""

GONE = 410
"""The answer that ends a subscription."""

RETRY = 1.0
"""Seconds between looks at a database that cannot be read or written."""


class Receiver:
    """A thread that posts to one URL. A delivered callback is removed before the next one is sent.

    Time is counted by the steady clock, and only while an undelivered callback waits. What went by
    beyond an attempt and the pause before it, as while the machine slept, does not count: nothing was tried.
    """

    def __init__(self, store: Store, receiver: int, url: str, options: Callbacks, node: str) -> None:
        self._store = store
        self._id = receiver
        self._url = url
        self._options = options
        self._node = node
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._post = Post(url, options.timeout)  # the one in progress, or the next
        self._told: Head | None = None  # taken, and not struck off yet
        self._failing = False
        self._failure_stored = True  # perhaps, by the agent before this one
        self._pause = 0.0  # without the jitter
        self._waiting = 0.0  # the present pause
        self._counted: float | None = None  # up to when the time was counted that this head has waited
        self._owed = 0.0  # seconds of it that could not be written down
        self._thread = threading.Thread(target=self._run, name=f"callbacks-{receiver}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wanted.set()

    def stop(self) -> None:
        """Begin to tell nothing more."""
        self._stopping.set()
        self._wanted.set()

    def cut(self) -> None:
        """After `stop`: end the request in progress, accepted or not."""
        self._post.cut()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tell_all()
            except StoreUnavailable as error:
                log.store_unavailable(error.layers)
                self._stopping.wait(RETRY)
                continue
            self._wanted.wait()
            self._wanted.clear()

    def _tell_all(self) -> None:
        while True:
            self._strike()
            # Made before the look: a stop or a cut is noticed by one of the two.
            self._post = Post(self._url, self._options.timeout)
            if self._stopping.is_set():
                return
            if (head := outbox.head(self._store, self._id)) is None:
                self._counted, self._owed = None, 0.0
                return
            if (refusal := self._tell(head)) and not self._stopping.is_set():
                self._end() if refusal.status == GONE else self._put_off(refusal)

    def _tell(self, head: Head) -> NotTaken | None:
        """Why it was not taken; None where it was."""
        self._counted = self._counted or clock.monotonic()
        try:
            content = message.body(self._store, head)
            self._post.send(content, message.headers(self._options, self._node, head, content))
        except NotTaken as refusal:
            return refusal
        except SecretUnreadable as reason:
            return NotTaken(str(reason))
        except StoreUnavailable:
            raise
        except Exception as error:  # a mistake of ours must not end the thread
            return NotTaken(type(error).__name__)
        self._told = head
        return None

    def _strike(self) -> None:
        """Remove what was delivered."""
        if self._told is None:
            return
        waited = self._waited() if self._failing or self._failure_stored else None
        outbox.strike(self._store, self._id, self._told.event_id, waited)
        if self._failing:
            log.receiver_answers(self._url)
        self._begin_again()

    def _begin_again(self) -> None:
        self._told, self._failing, self._failure_stored = None, False, False
        self._pause = self._waiting = self._owed = 0.0
        self._counted = None

    def _end(self) -> None:
        """The receiver wants nothing more."""
        log.subscription_ended(self._url, outbox.end(self._store, self._id))
        self._begin_again()

    def _put_off(self, refusal: NotTaken) -> None:
        """Wait until the next attempt, or for the agent's stop."""
        if not self._failing:
            log.receiver_fails(self._url, str(refusal))
        self._owed, self._counted = self._waited(), clock.monotonic()
        self._failing, self._pause = True, min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
        asked = min(refusal.retry_after, LONGEST_RETRY_AFTER)
        self._waiting = max(self._pause, asked) * random.uniform(1.0, 1.0 + JITTER)
        try:
            self._count(str(refusal))
        except StoreUnavailable as error:  # the time is written down by the next attempt, after the same pause
            log.store_unavailable(error.layers)
        self._stopping.wait(self._waiting)

    def _count(self, failure: str) -> None:
        """Write down how long this head has waited; what has waited too long is dropped."""
        dropped = outbox.put_off(self._store, self._id, self._owed, self._waiting, self._options.keep, failure)
        self._owed, self._failure_stored = 0.0, True
        if dropped:
            log.callbacks_dropped(self._url, dropped, self._options.keep)

    def _waited(self) -> float:
        """Seconds that are not written down yet."""
        now = clock.monotonic()
        return self._owed + min(now - (self._counted or now), self._waiting + self._options.timeout)
