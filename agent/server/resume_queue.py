"""Queue of parked requests that can be answered; limits their rate so that they do not delay other calls."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from math import inf

from agent.server.connection import ClientConnection


class ResumeQueue:
    """Parked requests that can be answered: one at a time, during at most `SHARE` of the time.

    So a change that many requests wait for does not delay other calls.
    """

    SHARE = 0.2
    LONGEST = 0.05
    """Maximum seconds between two answers."""

    def __init__(self) -> None:
        self._waiting: deque[ClientConnection] = deque()
        self._answered: ClientConnection | None = None
        self._began = 0.0
        self.open_at = inf
        """Earliest time to answer the next one (monotonic); infinite while none waits or one is answered."""
        self._earliest = 0.0

    def add(self, connection: ClientConnection) -> None:
        """Add a connection whose request can be answered; a `first` one goes to the front."""
        exchange = connection.exchange
        if exchange is not None and exchange.parked is not None and exchange.parked.first:
            self._waiting.appendleft(connection)
        else:
            self._waiting.append(connection)
        self._open()

    def take(self, now: float) -> ClientConnection | None:
        """Remove and return the next connection to answer; None before `open_at`. `now`: the monotonic clock."""
        if now < self.open_at:
            return None
        self._answered, self._began = self._waiting.popleft(), now
        self._open()
        return self._answered

    def leave(self, connection: ClientConnection) -> None:
        """Forget a connection that was answered or closed."""
        if connection is self._answered:
            now = time.monotonic()
            self._answered = None
            self._earliest = now + min(self.LONGEST, (now - self._began) * (1 / self.SHARE - 1))
        with suppress(ValueError):
            self._waiting.remove(connection)
        self._open()

    def _open(self) -> None:
        self.open_at = inf if self._answered is not None or not self._waiting else self._earliest
