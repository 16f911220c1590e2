"""The loop that all connections are in while they wait: heads, bodies, handshakes and slow answers hold no thread."""

import errno
import os
import selectors
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import Any

from gunicorn.http.errors import NoMoreData

from agent import log
from agent.server.connection import Connection, Gone, Phase
from agent.server.exchange import CONTINUE, END, Exchange, Next
from agent.server.refusals import answer, status_of

READ = 30.0
"""Seconds in which a whole request must be there, the handshake included."""
ANSWERED = 120.0
"""Seconds in which the client must have taken an answer."""
LEAVING = 1.0
"""Seconds in which what has begun must be there once the worker was asked to end."""
TAKEN = 10.0
"""Seconds in which the client must have taken its answer then."""
LINGER = 0.5
"""Seconds in which the client may close a connection first, so that it reads the answer to its end."""
PATIENCE = 0.2
"""Seconds in which a short body is waited for before the caller's rights are checked without it."""
LOOK = 0.5
"""Seconds between looks at who is slow."""
ACCEPTED = 64
"""Connections accepted at once, before those that are there get their turn."""
LARGEST_HEAD = 64 * 1024
"""Bytes of a request line and headers."""


class Reception:
    """All connections of one worker. Only `wake` and `leave` may be called from elsewhere than the loop's thread."""

    def __init__(
        self,
        listeners: Iterable[Any],
        config: Any,
        application: Callable[..., Any],
        access_log: Callable[..., None],
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        """`tls` gives the context of a new connection; those of unix sockets are never encrypted."""
        self._config, self._tls = config, tls
        self._run: Callable[[Exchange], Next] = lambda exchange: exchange.run(application, access_log)
        self._most: int = config.worker_connections
        self._threads = ThreadPoolExecutor(config.threads, "request")
        self._poller = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller.register(self._wake, selectors.EVENT_READ, self._woken)
        self._done: SimpleQueue[tuple[Connection, Future[Next]]] = SimpleQueue()
        self._connections: set[Connection] = set()
        self._of_peer: Counter[str] = Counter()
        self._impatient: dict[Connection, float] = {}
        self._next_look = 0.0
        self._left: float | None = None
        self._listeners = list(listeners)
        for listener in self._listeners:
            listener.setblocking(False)
            self._poller.register(listener, selectors.EVENT_READ, partial(self._accept, listener))

    def wake(self) -> None:
        """Let the turn end at once; also from a signal handler."""
        os.eventfd_write(self._wake, 1)

    def leave(self) -> None:
        """Accept nothing more, and let what has begun come to its end."""
        if self._left is None:
            self._left = time.monotonic()
        self.wake()

    @property
    def empty(self) -> bool:
        """Whether nothing is left to be brought to its end."""
        return not self._connections

    def turn(self) -> None:
        """Wait for whatever comes first, `LOOK` seconds at most, and let everybody go on who can."""
        for key, _ in self._poller.select(self._pause()):
            key.data()
        now = time.monotonic()
        for connection in [each for each, until in self._impatient.items() if until <= now]:
            self._submit(connection)
        if now >= self._next_look:
            self._next_look = now + LOOK
            self._end_the_slow(now)

    def close(self) -> None:
        """Drop all connections but those that threads have, which end with the process."""
        self._stop_listening()
        for connection in list(self._connections):
            if connection.phase is not Phase.THREAD:
                self._drop(connection)
        self._threads.shutdown(wait=False)
        self._poller.close()

    def _pause(self) -> float:
        until = min(self._impatient.values(), default=float("inf"))
        return max(0.0, min(LOOK, until - time.monotonic()))

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if self._left is not None:
            self._stop_listening()
        with suppress(Empty):
            while True:
                self._finish(*self._done.get_nowait())

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._poller.unregister(listener)
            listener.close()
        self._listeners.clear()

    # A connection comes

    def _accept(self, listener: Any) -> None:
        for _ in range(ACCEPTED):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # No descriptor is left: one that waits gives its own.
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._make_room(self._connections):
                    continue
                raise
            try:
                tls = self._tls() if self._tls and sock.family != socket.AF_UNIX else None
                connection = Connection(sock, address, listener.getsockname(), tls)
            except OSError:
                sock.close()  # the client has gone
                continue
            self._welcome(connection)

    def _welcome(self, connection: Connection) -> None:
        peer = connection.peer
        if self._of_peer[peer] >= self._most // 2 or len(self._connections) >= self._most:
            if self._of_peer[peer] < self._most // 2:
                peer = max(self._of_peer, key=self._of_peer.__getitem__)
            log.connections_closed(peer, self._of_peer[peer])
            if not self._make_room(each for each in self._connections if each.peer == peer):
                connection.close()
                return
        self._connections.add(connection)
        self._of_peer[connection.peer] += 1
        connection.deadline = connection.since + READ
        self._proceed(connection)

    def _make_room(self, among: Iterable[Connection]) -> bool:
        """Drop the one that has waited for its client longest, those that never asked anything first."""
        waiting = [each for each in among if each.phase is not Phase.THREAD]
        if waiting:
            self._drop(min(waiting, key=lambda each: (each.answered, each.since)))
        return bool(waiting)

    # It goes on

    def _proceed(self, connection: Connection) -> None:
        """Let a connection go on as far as it can, and register it for what it waits for then."""
        try:
            self._advance(connection)
        except Gone:
            self._drop(connection)
        except ssl.SSLError as error:
            # A handshake that cannot be read, or a certificate of the wrong authority.
            log.request_refused(HTTPStatus.BAD_REQUEST, f"{type(error).__name__} {error.reason}")
            self._say_goodbye(connection)
        if connection in self._connections and connection.phase is not Phase.THREAD:
            self._register(connection)

    def _advance(self, connection: Connection) -> None:
        if connection.phase is Phase.HANDSHAKE and connection.shake_hands():
            connection.phase = Phase.REQUEST
        if connection.phase is Phase.REQUEST:
            self._receive(connection)
        elif connection.phase is Phase.ANSWER:
            self._send(connection)
        elif connection.phase is Phase.GOODBYE:
            connection.discard()

    def _register(self, connection: Connection) -> None:
        proceed = partial(self._proceed, connection)
        try:
            self._poller.modify(connection.sock, connection.events, proceed)
        except KeyError:
            self._poller.register(connection.sock, connection.events, proceed)

    def _drop(self, connection: Connection) -> None:
        with suppress(KeyError, ValueError):
            self._poller.unregister(connection.sock)
        self._connections.discard(connection)
        self._of_peer[connection.peer] -= 1
        if not self._of_peer[connection.peer]:
            del self._of_peer[connection.peer]
        self._impatient.pop(connection, None)
        if connection.exchange is not None:
            connection.exchange.abandon()
            connection.exchange = None
        connection.close()

    # It asks

    def _receive(self, connection: Connection) -> None:
        """Take requests from what comes, until one is there or the client has to say more."""
        while not self._take(connection):
            if connection.ended:
                self._take_the_last(connection)
                return
            if not connection.receive():
                return

    def _take(self, connection: Connection) -> bool:
        """Take a request from what was received; whether the connection waits for it no longer."""
        if connection.exchange is None:
            self._take_head(connection)
        if (exchange := connection.exchange) is None:
            return connection.phase is not Phase.REQUEST
        exchange.body.take(connection.received)
        if not (exchange.body.there or exchange.in_a_hurry):
            if not exchange.wants_body:
                self._impatient.setdefault(connection, time.monotonic() + PATIENCE)
            return False
        self._submit(connection)
        return True

    def _take_head(self, connection: Connection) -> None:
        received = connection.received
        if received and not connection.searched:
            connection.deadline = min(connection.deadline, time.monotonic() + READ)
        end = received.find(END, max(0, connection.searched - len(END) + 1))
        connection.searched = len(received)
        line = self._config.limit_request_line + 2
        if received.find(b"\r\n", 0, line) < 0 and len(received) > line:
            self._refuse(connection, HTTPStatus.REQUEST_URI_TOO_LONG, "LimitRequestLine")
        elif (len(received) if end < 0 else end) > LARGEST_HEAD:
            self._refuse(connection, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "LimitRequestHeaders")
        elif end >= 0:
            connection.searched = 0
            self._read_head(connection, end + len(END))

    def _read_head(self, connection: Connection, size: int) -> None:
        head = bytes(connection.received[:size])
        del connection.received[:size]
        try:
            connection.exchange = Exchange(head, connection, self._config)
        except (NoMoreData, StopIteration):
            self._drop(connection)
        except Exception as error:
            self._refuse(connection, status_of(error), type(error).__name__)

    def _take_the_last(self, connection: Connection) -> None:
        """Of a client that sends no more."""
        if connection.exchange is not None:
            connection.exchange.body.end()
            self._submit(connection)
        elif connection.received:
            self._read_head(connection, len(connection.received))
        else:
            self._drop(connection)

    # A thread answers

    def _submit(self, connection: Connection) -> None:
        assert connection.exchange is not None
        self._impatient.pop(connection, None)
        with suppress(KeyError):
            self._poller.unregister(connection.sock)
        connection.phase = Phase.THREAD
        connection.exchange.last = self._left is not None
        run = self._threads.submit(self._run, connection.exchange)
        run.add_done_callback(partial(self._hand_back, connection))

    def _hand_back(self, connection: Connection, run: Future[Next]) -> None:
        """Called by the thread."""
        self._done.put((connection, run))
        self.wake()

    def _finish(self, connection: Connection, run: Future[Next]) -> None:
        """What a thread has left to be done."""
        exchange = connection.exchange
        assert exchange is not None
        connection.phase = Phase.ANSWER
        connection.deadline = exchange.began + ANSWERED
        try:
            exchange.next = run.result()
        except Gone:
            self._drop(connection)
            return
        except Exception as error:
            log.request_failed(exchange.method, "the server", error)
            self._refuse(connection, status_of(error), type(error).__name__)
        if exchange.next is Next.RECEIVE:
            connection.phase = Phase.REQUEST
            connection.deadline = exchange.began + READ
            connection.sending += CONTINUE if exchange.expects else b""
            with suppress(Gone):
                connection.send()
        self._proceed(connection)

    # It takes the answer

    def _send(self, connection: Connection) -> None:
        if not connection.send():
            return
        exchange = connection.exchange
        if exchange is not None and exchange.next is Next.SEND:
            self._submit(connection)
        elif exchange is not None and exchange.next is Next.KEEP:
            self._expect_another(connection)
        elif connection.ended:
            self._drop(connection)
        else:
            self._say_goodbye(connection)

    def _say_goodbye(self, connection: Connection) -> None:
        connection.phase = Phase.GOODBYE
        connection.deadline = time.monotonic() + LINGER
        try:
            connection.say_goodbye()
        except Gone:
            self._drop(connection)

    def _expect_another(self, connection: Connection) -> None:
        connection.exchange = None
        connection.answered = True
        connection.since = time.monotonic()
        connection.deadline = connection.since + self._config.keepalive
        connection.phase = Phase.REQUEST
        self._receive(connection)

    def _refuse(self, connection: Connection, status: HTTPStatus, reason: str) -> None:
        """Answer what never reaches the application."""
        log.request_refused(status, reason)
        if connection.exchange is not None:
            connection.exchange.abandon()
            connection.exchange = None
        connection.sending += answer(status)
        connection.phase = Phase.ANSWER
        connection.deadline = time.monotonic() + TAKEN
        self._send(connection)

    # It takes too long

    def _end_the_slow(self, now: float) -> None:
        for connection in list(self._connections):
            if connection.phase is not Phase.THREAD and now >= self._deadline(connection):
                self._end(connection)

    def _deadline(self, connection: Connection) -> float:
        if self._left is None:
            return connection.deadline
        return min(connection.deadline, self._left + (TAKEN if connection.phase is Phase.ANSWER else LEAVING))

    def _end(self, connection: Connection) -> None:
        if connection.phase is not Phase.REQUEST or not (connection.exchange or connection.received):
            self._drop(connection)
            return
        log.request_cut(READ)
        self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT, "RequestTimeout")
        if connection in self._connections:
            self._register(connection)
