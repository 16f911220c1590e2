"""The threads that call the application, and what they leave for the loop."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from agent.server.connection import ClientConnection, Phase
from agent.server.exchange import Exchange, Next


class Threads:
    """Readable (`fileno`) when a thread has left something, or after `wake`."""

    def __init__(self, count: int, run: Callable[[Exchange], Next]) -> None:
        self._run = run
        self._pool = ThreadPoolExecutor(count, "request")
        self._done: SimpleQueue[tuple[ClientConnection, Future[Next]]] = SimpleQueue()
        self._resumed: SimpleQueue[ClientConnection] = SimpleQueue()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return self._event

    def wake(self) -> None:
        """Also from a signal handler."""
        os.eventfd_write(self._event, 1)

    def submit(self, connection: ClientConnection) -> None:
        """Give a connection with a request to a thread: until it is handed back, only that thread uses it."""
        assert connection.exchange is not None
        connection.phase = Phase.THREAD
        self._pool.submit(self._run, connection.exchange).add_done_callback(partial(self._hand_back, connection))

    def _hand_back(self, connection: ClientConnection, run: Future[Next]) -> None:
        self._done.put((connection, run))
        self.wake()

    def resume(self, connection: ClientConnection) -> None:
        """The wait of a parked request is over; called by any thread."""
        self._resumed.put(connection)
        self.wake()

    def resumed(self) -> Iterator[ClientConnection]:
        """Those whose wait is over since the last call; some may have gone."""
        with suppress(Empty):
            while True:
                yield self._resumed.get_nowait()

    def handed_back(self) -> Iterator[tuple[ClientConnection, Future[Next]]]:
        """What threads have left since the last call."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        with suppress(Empty):
            while True:
                yield self._done.get_nowait()

    def close(self) -> None:
        """Start nothing more; what runs ends with the process."""
        self._pool.shutdown(wait=False)
