"""One receiver: told of final actions in their order, each until it is taken or has waited too long."""

import json
import threading
from urllib.parse import quote

from agent import clock, log, secret_file, signature
from agent.callbacks.post import NotTaken, Post
from agent.config import Callbacks
from agent.errors import StoreUnavailable
from agent.secret_file import SecretUnreadable
from agent.store import Store, async_actions, outbox
from agent.store.outbox import Head

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 900.0
"""Seconds between two attempts: they double from the one to the other."""

RETRY = 1.0
"""Seconds between looks at a database that cannot be read or written."""


class Receiver:
    """A thread that tells one URL. What it has told is struck off before it tells anything else.

    Time is counted by the steady clock, and only while something waits that could not be told. What went by
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
        self._post = Post(url, options.timeout)  # the one under way, or the next
        self._told: Head | None = None  # taken, and not struck off yet
        self._failing = False
        self._pause = 0.0
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
        """After `stop`: end what is being told, whether it was taken or not."""
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
            # Made before the look: whoever stops and cuts is heard by one of the two.
            self._post = Post(self._url, self._options.timeout)
            if self._stopping.is_set():
                return
            if (head := outbox.head(self._store, self._id)) is None:
                self._counted, self._owed = None, 0.0
                return
            if (reason := self._tell(head)) and not self._stopping.is_set():
                self._put_off(reason)

    def _tell(self, head: Head) -> str:
        """Why it was not taken; nothing where it was."""
        self._counted = self._counted or clock.monotonic()
        body = json.dumps(async_actions.fields(async_actions.by_seq(self._store, head.seq)), separators=(",", ":"))
        try:
            content = body.encode()
            self._post.send(content, self._headers(head, content))
        except (NotTaken, SecretUnreadable) as reason:
            return str(reason)
        except Exception as error:  # a mistake of ours must not end the thread
            return type(error).__name__
        self._told = head
        return ""

    def _headers(self, head: Head, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "agent",
            "X-Agent-Node": quote(self._node),
            "X-Agent-Delivery": head.action_id,
        }
        if self._options.secret is not None:
            key = secret_file.read(self._options.secret, shortest=secret_file.SHORTEST_KEY)
            headers[signature.HEADER] = signature.sign(key, body)
        return headers

    def _strike(self) -> None:
        """Strike off what was told."""
        if self._told is None:
            return
        outbox.strike(self._store, self._id, self._told.finished_order, self._waited() if self._failing else 0.0)
        if self._failing:
            log.receiver_answers(self._url)
        self._told, self._failing, self._pause = None, False, 0.0
        self._counted, self._owed = None, 0.0

    def _put_off(self, reason: str) -> None:
        """Wait until the next attempt, or for the agent's stop."""
        if not self._failing:
            log.receiver_fails(self._url, reason)
        self._owed, self._counted = self._waited(), clock.monotonic()
        self._failing, self._pause = True, min(2 * self._pause or FIRST_PAUSE, LONGEST_PAUSE)
        try:
            self._count()
        except StoreUnavailable as error:  # the time is written down by the next attempt, after the same pause
            log.store_unavailable(error.layers)
        self._stopping.wait(self._pause)

    def _count(self) -> None:
        """Write down how long this head has waited; what has waited too long is dropped."""
        dropped = outbox.put_off(self._store, self._id, self._owed, self._pause, self._options.keep)
        self._owed = 0.0
        if dropped:
            log.callbacks_dropped(self._url, dropped, self._options.keep)

    def _waited(self) -> float:
        """Seconds that are not written down yet."""
        now = clock.monotonic()
        return self._owed + min(now - (self._counted or now), self._pause + self._options.timeout)
