"""The threads that call the application and hand connections back to the loop."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from agent.server.connection import ClientConnection, Phase
from agent.server.exchange import Exchange, Next


class Threads:
    """A pool of `count` threads. `fileno` is readable after a thread handed back a connection, or after `wake`."""

    def __init__(self, count: int, run: Callable[[Exchange], Next]) -> None:
        self._run = run
        self._pool = ThreadPoolExecutor(count, "request")
        self._done: SimpleQueue[tuple[ClientConnection, Future[Next]]] = SimpleQueue()
        self._resumed: SimpleQueue[ClientConnection] = SimpleQueue()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """For the selector of the loop."""
        return self._event

    def wake(self) -> None:
        """Wake the loop. May be called by a signal handler."""
        os.eventfd_write(self._event, 1)

    def submit(self, connection: ClientConnection) -> None:
        """Give a connection with a request to a thread, which alone uses it until it is handed back."""
        assert connection.exchange is not None
        connection.phase = Phase.THREAD
        self._pool.submit(self._run, connection.exchange).add_done_callback(partial(self._hand_back, connection))

    def _hand_back(self, connection: ClientConnection, run: Future[Next]) -> None:
        self._done.put((connection, run))
        self.wake()

    def resume(self, connection: ClientConnection) -> None:
        """Mark a parked request as ready to be answered. May be called by any thread."""
        self._resumed.put(connection)
        self.wake()

    def resumed(self) -> Iterator[ClientConnection]:
        """The connections passed to `resume` since the last call; some may be closed already."""
        with suppress(Empty):
            while True:
                yield self._resumed.get_nowait()

    def handed_back(self) -> Iterator[tuple[ClientConnection, Future[Next]]]:
        """The connections handed back since the last call, each with the result of its run."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._event)
        with suppress(Empty):
            while True:
                yield self._done.get_nowait()

    def close(self) -> None:
        """Start no further request; running ones end with the process."""
        self._pool.shutdown(wait=False)
