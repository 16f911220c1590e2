"""gunicorn's threaded worker, whose own refusals have the shape of the agent's and whom no slow client holds up."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from socket import SHUT_RD, SHUT_RDWR, SHUT_WR, socket
from typing import Any

from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader
from gunicorn.util import write_nonblock
from gunicorn.workers import gthread

from agent import log

REFUSALS: tuple[tuple[str, HTTPStatus], ...] = (
    ("LimitRequestLine", HTTPStatus.REQUEST_URI_TOO_LONG),
    ("LimitRequestHeaders", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ("UnsupportedTransferCoding", HTTPStatus.NOT_IMPLEMENTED),
    ("ExpectationFailed", HTTPStatus.EXPECTATION_FAILED),
    ("ParseException", HTTPStatus.BAD_REQUEST),
)
"""gunicorn's exceptions by name, as not every version has them all; the first that fits counts."""


READ = 30.0
"""Seconds in which a whole request must be there."""
READ_BUSY = 5.0
"""The same while every thread has a request: others may be waiting for one."""
ANSWERED = 120.0
"""Seconds from the first byte of a request to the last one of its answer: a wait of 60, and the client's pace."""
LEAVING = 1.0
"""Seconds in which what has begun must be there once the worker was asked to end."""
TAKEN = 10.0
"""Seconds in which the client must have taken its answer then."""
FIRST_BYTE = 0.02
"""Seconds that a thread waits on a new connection; one that says nothing yet is left to the poller."""
LINGER = 0.5
"""Seconds in which the client may close a connection first, so that it reads the answer to its end."""
LOOK = 0.5
"""Seconds between looks at who is slow."""
UNREAD = 64 * 1024
"""Bytes: where this much of a body was not wanted, gunicorn does not read over it but closes the connection."""


@dataclass(slots=True, eq=False)
class Handling:
    """A request that a thread is busy with, from its first byte; times by the monotonic clock."""

    connection: Any
    began: float
    has_headers: bool = False
    reading: bool = True
    cut: bool = False


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """Answers a request that gunicorn itself refuses, and gives each client a limited time of a thread."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._handlings: dict[Any, Handling] = {}
        self._next_look = 0.0
        self._left: float | None = None

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM, also to the worker that another one replaces after a HUP of the master."""
        self._leave()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """INT or QUIT."""
        self._leave()
        super().handle_quit(sig, frame)

    def _leave(self) -> None:
        """Begin the engine's stop at once: the step under way needs the time that the arbiter gives us."""
        if self._left is None:
            self._left = time.monotonic()
            threading.Thread(target=self._see_off, name="leave", daemon=True).start()

    def _see_off(self) -> None:
        if app := getattr(self, "wsgi", None):
            app.extensions["agent"].engine.begin_stop()
        # gunicorn's loop may have ended by now.
        while True:
            time.sleep(LOOK)
            self._cut_the_slow(time.monotonic())

    def handle(self, conn: Any) -> Any:
        if _says_nothing_yet(conn):
            return gthread._DEFER
        handling = self._handlings[conn] = Handling(conn, time.monotonic())
        try:
            kept = super().handle(conn)
            if handling.cut:
                _tell_cut(handling)
            if not kept:
                linger(conn.sock)
            return kept
        finally:
            del self._handlings[conn]

    def handle_request(self, req: Any, conn: Any) -> Any:
        if handling := self._handlings.get(conn):
            handling.has_headers = True
            handling.reading = any(name in ("CONTENT-LENGTH", "TRANSFER-ENCODING") for name, _ in req.headers)
        if _is_left(req.body):
            _close_unless_read(req)
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Called by the loop that accepts connections, whenever it turns."""
        super().notify()
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK
            self._cut_the_slow(now)
            self._make_room()
        if self._left is not None:
            self._end_the_silent(self._left + LEAVING)

    def _cut_the_slow(self, now: float) -> None:
        handlings = list(self._handlings.values())
        patience, answered = READ_BUSY if len(handlings) >= self.cfg.threads else READ, ANSWERED
        if self._left is not None:
            patience, answered = LEAVING, TAKEN
        for each in handlings:
            took = now - max(each.began, self._left or 0.0)
            if took > answered:
                shut(each.connection.sock, SHUT_RDWR)
            elif each.reading and not each.cut and took > patience:
                # One that was read to its end is still answered; one that was not ends here.
                each.cut = True
                shut(each.connection.sock, SHUT_RD)

    def _make_room(self) -> None:
        """Let the older half of the idle connections run out where no other is accepted any more."""
        if self.nr_conns < self.worker_connections:
            return
        for name in ("pending_conns", "keepalived_conns"):
            idle = getattr(self, name, ())
            for connection in islice(idle, (len(idle) + 1) // 2):
                connection.timeout = 0.0

    def _end_the_silent(self, deadline: float) -> None:
        """Let the connections that never said anything run out; gunicorn does so with those it has answered."""
        for connection in getattr(self, "pending_conns", ()):
            connection.timeout = min(connection.timeout, deadline)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        status = status_of(exc)
        log.request_refused(status, type(exc).__name__)
        try:
            write_nonblock(client, answer(status))
        except OSError:
            return  # the client has gone


def shut(connection: socket, how: int) -> None:
    """Wake the thread that waits for this socket; also one that is encrypted, without a word of goodbye."""
    try:
        socket.shutdown(connection, how)
    except OSError:
        return  # closed meanwhile


def linger(connection: socket) -> None:
    """Wait for the client to close first. gunicorn does so too, but in the loop that accepts connections."""
    shut(connection, SHUT_WR)
    deadline = time.monotonic() + LINGER
    try:
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not socket.recv(connection, 65536):
                break
    except OSError:
        return
    finally:
        shut(connection, SHUT_RDWR)


def _says_nothing_yet(connection: Any) -> bool:
    """Of a new connection only, and only where gunicorn can put one aside."""
    if not hasattr(gthread, "_DEFER") or connection.initialized or connection.data_ready:
        return False
    return not connection.wait_for_data(FIRST_BYTE)


def _is_left(body: Any) -> bool:
    """Whether too much of a body is unread, or more chunks may come."""
    reader = body.reader
    if isinstance(reader, ChunkedReader):
        return reader.parser is not None or reader.buf.tell() + body.buf.tell() >= UNREAD
    return bool(reader.length + body.buf.tell() >= UNREAD)


def _close_unless_read(request: Any) -> None:
    """Let the answer say that the connection ends with it, where it comes before the body was read."""
    asked: Callable[[], bool] = request.should_close
    request.should_close = lambda: asked() or _is_left(request.body)


def _tell_cut(handling: Handling) -> None:
    log.request_cut(time.monotonic() - handling.began)
    # Without a parser the encryption was not agreed on yet.
    if not handling.has_headers and handling.connection.parser is not None:
        try:
            write_nonblock(handling.connection.sock, answer(HTTPStatus.REQUEST_TIMEOUT))
        except OSError:
            return  # the client has gone


def status_of(error: BaseException) -> HTTPStatus:
    for name, status in REFUSALS:
        refusal = getattr(errors, name, None)
        if refusal is not None and isinstance(error, refusal):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer(status: HTTPStatus) -> bytes:
    """The whole response; the connection ends with it."""
    body = json.dumps(
        {
            "error": f"the request is not served: {status.phrase.lower()}",
            "layers": [],
            "variant": status.phrase.title().replace(" ", "").replace("-", ""),
        }
    ).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
