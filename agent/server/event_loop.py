"""The event loop of all waiting connections: handshakes, heads, bodies and slow answers hold no thread."""

import errno
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import NoMoreData

from agent import log
from agent.server import heads
from agent.server.body_memory import BodyMemory
from agent.server.connection import ClientConnection, Phase
from agent.server.connections import ConnectionLimit
from agent.server.exchange import CONTINUE, Exchange, Next
from agent.server.refusals import answer, status_of
from agent.server.resume_queue import ResumeQueue
from agent.server.stream import PIECE, ClientGone
from agent.server.threads import Threads

READ = 30.0
"""Seconds for a whole request to arrive, including the handshake."""
ANSWERED = 120.0
"""Seconds from the head of a request to the last byte of its answer: a long poll of 60 s, and a slow client."""
LEAVING = 1.0
"""Seconds for an incomplete request to arrive during a stop."""
TAKEN = 10.0
"""Seconds for the client to take its answer during a stop, or the refusal of its request at any time."""
LINGER = 0.5
"""Seconds for the client to close the connection first, so that it reads the whole answer."""
PATIENCE = 0.2
"""Seconds to wait for a short body before the permissions are checked without it."""
LOOK = 0.5
"""Seconds between two checks for slow clients."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of `accept` when resources are exhausted; new connections then wait in the kernel."""
ACCEPTED = 64
"""Maximum connections accepted at once, before the open ones are served."""


class EventLoop:
    """All connections of one worker. Single-threaded, except `leave`: any thread or signal handler may call it."""

    def __init__(
        self,
        listeners: Iterable[Any],
        config: Any,
        application: Callable[..., Any],
        access_log: Callable[..., None],
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        """`tls` returns the context for a new TCP connection; connections by unix socket are never encrypted."""
        self._config, self._tls = config, tls
        self._threads = Threads(config.threads, lambda exchange: exchange.run(application, access_log))
        self._connection_limit = ConnectionLimit(config.worker_connections)
        self._body_memory = BodyMemory()
        self._resume_queue = ResumeQueue()
        self._awaiting_short_body: dict[ClientConnection, float] = {}
        self._next_look = 0.0
        self._stopping_since: float | None = None
        self._poller = selectors.DefaultSelector()
        self._poller.register(self._threads, selectors.EVENT_READ, self._woken)
        self._listeners = list(listeners)
        self._listening: set[Any] = set()
        for listener in self._listeners:
            listener.setblocking(False)
        self._listen()

    @property
    def empty(self) -> bool:
        """Whether no connection is open."""
        return not len(self._connection_limit)

    def leave(self) -> None:
        """Begin the stop: accept no further connection, and answer the requests in progress."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        self._threads.wake()

    def turn(self) -> None:
        """Wait up to `LOOK` seconds for events and handle them."""
        until = min((self._resume_queue.open_at, *self._awaiting_short_body.values()))
        for key, _ in self._poller.select(max(0.0, min(LOOK, until - time.monotonic()))):
            key.data()
        now = time.monotonic()
        for connection in [each for each, until in self._awaiting_short_body.items() if until <= now]:
            self._submit(connection)
        if (resumed := self._resume_queue.take(now)) is not None:
            self._submit(resumed)
        if now >= self._next_look:
            self._next_look = now + LOOK
            self._end_slow_connections(now)
            self._listen()

    def close(self) -> None:
        """Close all connections except those in use by threads, which end with the process."""
        self._stop_listening()
        for connection in self._connection_limit:
            if connection.phase is not Phase.THREAD:
                self._drop(connection)
        self._threads.close()
        self._poller.close()

    def _woken(self) -> None:
        if self._stopping_since is not None:
            self._stop_listening()
        for connection, run in self._threads.handed_back():
            self._resume_queue.leave(connection)
            self._finish(connection, run)
        for connection in self._threads.resumed():
            if connection in self._connection_limit and connection.phase is Phase.PARKED:
                self._resume_queue.add(connection)

    def _listen(self) -> None:
        for listener in self._listeners:
            if listener not in self._listening:
                self._listening.add(listener)
                self._poller.register(listener, selectors.EVENT_READ, partial(self._accept, listener))

    def _pause(self, listener: Any) -> None:
        """Stop accepting until the next look. New clients wait in the kernel, which would report them at each turn."""
        self._listening.discard(listener)
        self._poller.unregister(listener)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            if listener in self._listening:
                self._pause(listener)
            listener.close()
        self._listeners.clear()

    # Accept

    def _accept(self, listener: Any) -> None:
        if listener not in self._listening:
            return  # closed in this turn
        for _ in range(ACCEPTED):
            if (accepted := self._next_client(listener)) is None:
                return
            sock, address = accepted
            tls = self._tls() if self._tls and sock.family != socket.AF_UNIX else None
            try:
                self._admit(ClientConnection(sock, address, listener.getsockname(), tls))
            except OSError:
                sock.close()  # the client has gone

    def _next_client(self, listener: Any) -> tuple[socket.socket, Any] | None:
        """The next new connection, or None. If no descriptor is free, closes one waiting connection for it."""
        for may_close in (True, False):
            try:
                accepted: tuple[socket.socket, Any] = listener.accept()
                return accepted
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    return None  # the client has gone
            if not may_close or (idle := self._connection_limit.longest_waiting()) is None:
                break
            self._drop(idle)
        self._pause(listener)
        return None

    def _admit(self, connection: ClientConnection) -> None:
        if not self._connection_limit.has_room(connection.peer):
            if (other := self._connection_limit.to_close(connection.peer)) is None:
                connection.close()
                return
            self._drop(other)
        self._connection_limit.add(connection)
        connection.deadline = connection.since + READ
        self._proceed(connection)

    # Proceed

    def _proceed(self, connection: ClientConnection) -> None:
        """Take steps until the connection must wait, then register it for the event that it waits for."""
        if connection not in self._connection_limit:
            return  # dropped in this turn
        try:
            while self._step(connection):
                pass
        except ClientGone:
            self._drop(connection)
        except ssl.SSLError as error:
            # An invalid handshake, or a certificate of an unknown authority.
            log.request_refused(HTTPStatus.BAD_REQUEST, f"{type(error).__name__} {error.reason}")
            self._say_goodbye(connection)
        except Exception as error:
            # A bug ends only this connection.
            log.request_failed("a request", "the server", error)
            self._drop(connection)
        if connection in self._connection_limit and connection.phase is not Phase.THREAD:
            proceed = partial(self._proceed, connection)
            try:
                self._poller.modify(connection.sock, connection.events, proceed)
            except KeyError:
                self._poller.register(connection.sock, connection.events, proceed)

    def _step(self, connection: ClientConnection) -> bool:
        """Take one step; True if another can follow at once. Raises `ClientGone` or `ssl.SSLError`."""
        phase = connection.phase
        if phase is Phase.HANDSHAKE and connection.shake_hands():
            connection.phase = Phase.REQUEST
        elif phase is Phase.REQUEST:
            self._receive(connection)
        elif phase is Phase.ANSWER and connection.send():
            self._sent(connection)
        elif phase is Phase.PARKED:
            self._receive_while_parked(connection)
        elif phase is Phase.GOODBYE:
            connection.discard()
        return connection.phase not in (phase, Phase.THREAD, Phase.PARKED, Phase.GOODBYE)

    def _drop(self, connection: ClientConnection) -> None:
        self._resume_queue.leave(connection)
        self._unregister(connection)
        self._body_memory.leave(connection)
        self._connection_limit.remove(connection)
        self._awaiting_short_body.pop(connection, None)
        connection.close()

    def _unregister(self, connection: ClientConnection) -> None:
        with suppress(KeyError, ValueError):
            self._poller.unregister(connection.sock)

    # Receive a request

    def _receive(self, connection: ClientConnection) -> None:
        """Take one request from the received bytes, else after one further read: other connections wait too."""
        if self._take(connection) or not connection.receive() or self._take(connection) or not connection.ended:
            return
        # The client sends no more.
        if connection.exchange is not None:
            connection.exchange.body.end()
            self._submit(connection)
        elif connection.received:
            self._begin(connection, heads.rest(connection))
        else:
            raise ClientGone

    def _take(self, connection: ClientConnection) -> bool:
        """Whether the connection waits for its client no longer: a request has arrived or was refused."""
        if connection.exchange is None and not self._take_head(connection):
            return connection.phase is not Phase.REQUEST
        exchange = connection.exchange
        assert exchange is not None
        exchange.body.take(connection.received)
        if exchange.body.ready or exchange.is_called_before_body:
            self._submit(connection)
        elif not exchange.wants_body:
            self._awaiting_short_body.setdefault(connection, time.monotonic() + PATIENCE)
        return connection.phase is not Phase.REQUEST

    def _take_head(self, connection: ClientConnection) -> bool:
        if not connection.received:
            return False
        if not connection.searched:
            connection.deadline = min(connection.deadline, time.monotonic() + READ)
        try:
            head = heads.take(connection, self._config.limit_request_line)
        except heads.TooLarge as error:
            self._refuse(connection, error.status, str(error))
            return False
        return head is not None and self._begin(connection, head)

    def _begin(self, connection: ClientConnection, head: bytes) -> bool:
        """Begin a request; False if the head is invalid and was refused."""
        try:
            connection.exchange = Exchange(head, connection, self._config)
        except (NoMoreData, StopIteration):
            raise ClientGone from None
        except Exception as error:
            self._refuse(connection, status_of(error), type(error).__name__)
        return connection.exchange is not None

    # Answer in a thread

    def _submit(self, connection: ClientConnection) -> None:
        assert connection.exchange is not None
        connection.exchange.last = self._stopping_since is not None
        self._awaiting_short_body.pop(connection, None)
        self._unregister(connection)
        self._threads.submit(connection)

    def _finish(self, connection: ClientConnection, run: Future[Next]) -> None:
        """Continue a connection that a thread has handed back."""
        exchange = connection.exchange
        assert exchange is not None
        connection.phase, connection.deadline = Phase.ANSWER, exchange.began + ANSWERED
        try:
            exchange.next = run.result()
        except ClientGone:
            self._drop(connection)
            return
        except Exception as error:
            log.request_failed(exchange.method, "the server", error)
            self._refuse(connection, status_of(error), type(error).__name__)
        if exchange.next is Next.RECEIVE:
            self._await_body(connection, exchange)
        elif exchange.next is Next.WAIT:
            self._park(connection, exchange)
        elif exchange.next is not Next.SEND:
            self._body_memory.leave(connection)
        self._proceed(connection)

    def _park(self, connection: ClientConnection, exchange: Exchange) -> None:
        """Wait without a thread until the application can be called again."""
        assert exchange.parked is not None
        connection.phase, connection.events = Phase.PARKED, selectors.EVENT_READ
        exchange.parked.park(partial(self._threads.resume, connection))

    def _receive_while_parked(self, connection: ClientConnection) -> None:
        """Read the next pipelined request. Raises `ClientGone` on a close, or if too much was sent."""
        if connection.receive() and (connection.ended or len(connection.received) > PIECE):
            raise ClientGone

    def _await_body(self, connection: ClientConnection, exchange: Exchange) -> None:
        """Receive the bytes that the application reads, within the limit of memory."""
        self._body_memory.take(connection, exchange.body.size)
        while (refused := self._body_memory.to_refuse(connection)) is not None:
            log.body_refused()
            self._refuse(refused, HTTPStatus.SERVICE_UNAVAILABLE, "NoRoom")
            if refused is connection:
                return
            self._proceed(refused)
        connection.phase, connection.deadline = Phase.REQUEST, exchange.began + READ
        connection.sending += CONTINUE if exchange.expects else b""
        with suppress(ClientGone):  # the next step raises it again
            connection.send()

    # Send the answer

    def _sent(self, connection: ClientConnection) -> None:
        last = connection.exchange.next if connection.exchange else Next.CLOSE
        if last is Next.SEND:
            self._submit(connection)
        elif last is Next.KEEP:
            connection.exchange = None
            connection.answered = True
            connection.since = time.monotonic()
            connection.deadline = connection.since + self._config.keepalive
            connection.phase = Phase.REQUEST
        elif connection.ended:
            raise ClientGone
        else:
            self._say_goodbye(connection)

    def _say_goodbye(self, connection: ClientConnection) -> None:
        connection.phase, connection.deadline = Phase.GOODBYE, time.monotonic() + LINGER
        try:
            connection.say_goodbye()
        except ClientGone:
            self._drop(connection)

    def _refuse(self, connection: ClientConnection, status: HTTPStatus, reason: str) -> None:
        """Answer a request that does not reach the application."""
        log.request_refused(status, reason)
        self._body_memory.leave(connection)
        if connection.exchange is not None:
            connection.exchange.abandon()
            connection.exchange = None
        connection.sending += answer(status)
        connection.phase, connection.deadline = Phase.ANSWER, time.monotonic() + TAKEN

    # Time limits

    def _end_slow_connections(self, now: float) -> None:
        for connection in self._connection_limit:
            if connection.phase is Phase.THREAD or now < self._deadline(connection):
                continue
            if connection.phase is Phase.REQUEST and (connection.exchange or connection.received):
                log.request_cut(READ)
                self._awaiting_short_body.pop(connection, None)
                self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT, "RequestTimeout")
                self._proceed(connection)
            else:
                self._drop(connection)

    def _deadline(self, connection: ClientConnection) -> float:
        if self._stopping_since is None:
            return connection.deadline
        answered = connection.phase in (Phase.ANSWER, Phase.PARKED)
        # A busy machine may accept a connection long after the stop has begun.
        began = max(self._stopping_since, connection.since)
        return min(connection.deadline, began + (TAKEN if answered else LEAVING))
