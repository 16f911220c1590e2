"""One request and its answer. gunicorn parses the head and formats the response; threads call the application."""

import enum
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from gunicorn.http import RequestParser, wsgi

from agent import log
from agent.server.body import Body, BodyIncomplete
from agent.server.parking import MAY_PARK, WAITED, Parked
from agent.server.stream import ClientGone, Stream

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Next(enum.Enum):
    """What the event loop does next with the exchange."""

    RECEIVE = enum.auto()
    """More bytes of the body."""
    WAIT = enum.auto()
    """The condition for which the application has parked the request."""
    SEND = enum.auto()
    """The client must take this part of the answer."""
    KEEP = enum.auto()
    """Answered; another request may follow."""
    CLOSE = enum.auto()
    """Answered; the connection is closed."""


class Exchange:
    """One request and its answer. Created by the event loop, run by threads."""

    def __init__(self, head: bytes, connection: Stream, config: Any) -> None:
        """Raises gunicorn's `ParseException`, `StopIteration` or `AmbiguousLength` for an invalid request."""
        self._connection = connection
        self._config = config
        self._request = next(RequestParser(config, iter([head]), connection.address))
        self.body = self._request.body = Body(self._request.headers)
        self.expects = self._request.version >= (1, 1) and any(name == "EXPECT" for name, _ in self._request.headers)
        """Whether the client waits for `100 Continue` before it sends the body."""
        self._response: Any = None
        self._pieces: Iterator[bytes] | None = None
        self.began = time.monotonic()
        self.next: Next | None = None
        """The result of the latest `run`; set by the loop."""
        self.parked: Parked | None = None
        """The wait of the application, once it has begun."""
        self.last = False
        """Whether the connection is closed after this request; set by the loop."""

    @property
    def method(self) -> str:
        """The method of the request."""
        return str(self._request.method)

    @property
    def wants_body(self) -> bool:
        """Whether the application has read bytes that had not arrived; by then it has checked the permissions."""
        return self.next is Next.RECEIVE

    @property
    def is_called_before_body(self) -> bool:
        """Whether the application is called before the body has arrived."""
        return not self.wants_body and (self.body.long or self.expects)

    def run(self, application: Callable[..., Any], access_log: Callable[..., None]) -> Next:
        """Continue the answer until it would wait for the client. Raises `ClientGone`.

        Other errors come from the application or gunicorn, before any part of the answer was sent.
        """
        try:
            if self._pieces is None:
                self._pieces = self._answer(application, access_log)
            for _ in self._pieces:
                if not self._connection.send():
                    return Next.SEND
        except BodyIncomplete:
            self._pieces = None
            return Next.RECEIVE
        except Parked as parked:
            # Without the traceback: its frames refer to this exchange, a cycle that would be freed late.
            self._pieces, self._response, self.parked = None, None, parked.with_traceback(None)
            return Next.WAIT
        except Exception as error:
            if self._response is None or not self._response.headers_sent:
                raise
            # An answer in progress can only be truncated. An `OSError` was logged already or means a lost client.
            if not isinstance(error, OSError):
                log.answer_broken_off(self.method, "the server", error)
            return Next.CLOSE
        self._pieces = None
        self.body.release()
        with suppress(ClientGone):  # the loop notices it too
            self._connection.send()
        return Next.CLOSE if self.last or self._response.should_close() else Next.KEEP

    def _answer(self, application: Callable[..., Any], access_log: Callable[..., None]) -> Iterator[bytes]:
        """Write the response to the connection's buffer, with a pause after each piece."""
        began = time.monotonic()
        self.body.rewind()
        response, environ = self._begin()
        pieces = application(environ, self._start_response)
        try:
            for piece in pieces:
                response.write(piece)
                yield piece
            response.close()
        finally:
            access_log(response, self._request, environ, timedelta(seconds=time.monotonic() - began))
            if hasattr(pieces, "close"):
                pieces.close()

    def _begin(self) -> tuple[Any, dict[str, Any]]:
        connection = self._connection
        writer = _Writer(connection)
        response, environ = wsgi.create(self._request, writer, connection.address, connection.server, self._config)
        environ["gunicorn.socket"] = connection.sock
        environ["wsgi.multithread"] = True
        environ[MAY_PARK if self.parked is None else WAITED] = True
        self._response = response
        return response, environ

    def _start_response(self, *status: Any) -> Any:
        """Called by the application before its first piece, when it has finished reading the body."""
        if self.last or self.body.is_unread:
            self._response.force_close()
        return self._response.start_response(*status)

    def abandon(self) -> None:
        """Free the resources of an answer that is not sent completely."""
        if self._pieces is not None:
            with suppress(Exception):
                self._pieces.close()  # type: ignore[attr-defined]
        if self.parked is not None:
            self.parked.leave()
        self.body.release()


class _Writer:
    """The socket that gunicorn writes a response to: appends to the connection's buffer."""

    def __init__(self, connection: Stream) -> None:
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        self._connection.sending += data

    def send(self, data: bytes) -> int:
        """Ignored: only `100 Continue` is sent this way, and the loop sends it when the body is needed."""
        return len(data)
