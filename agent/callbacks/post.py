"""One POST without proxy or redirects, with a time limit."""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, RemoteDisconnected
from urllib.parse import urlsplit

from agent import clock

ANSWER = 65536
"""Bytes of an answer that are read, so that the receiver is not cut short; they are discarded."""


class NotAccepted(Exception):
    """The receiver did not answer with 2xx; the message says what it did.

    `status` is 0 without an answer. `retry_after`: seconds until the receiver wants another attempt.
    """

    def __init__(self, reason: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class Post:
    """Over `timeout` seconds after it was begun, however the receiver behaves, or as soon as it is cut.

    Only the look-up of a name takes what the system gives it.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._deadline = 0.0
        self._lock = threading.Lock()
        self._over = False
        self._held: socket.socket | None = None

    def send(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises `NotAccepted`. Sends once.

        Follows no redirect and asks no proxy, whatever the environment says; certificates are verified.
        """
        self._deadline = time.monotonic() + self._timeout
        # The socket's own timeout restarts with every byte.
        limit = threading.Timer(self._timeout, self.cut)
        limit.daemon = True
        limit.start()
        try:
            status, retry_after = self._answered(body, headers)
        except (OSError, HTTPException) as error:
            late = self._over or time.monotonic() >= self._deadline
            raise NotAccepted(f"no answer within {self._timeout:g} s" if late else _reason(error)) from None
        finally:
            limit.cancel()
            self._let_go()
        if not 200 <= status < 300:
            raise NotAccepted(f"it answered {status}", status, retry_after)

    def cut(self) -> None:
        """End it, from any thread, also where it has yet to begin or to connect."""
        with self._lock, suppress(OSError):
            self._over = True
            if self._held is not None:
                self._held.shutdown(socket.SHUT_RDWR)

    def _answered(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float]:
        """The status, and the seconds of `Retry-After`."""
        connection = self._connection()
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.request("POST", target, body, {**headers, "Connection": "close"})
            with connection.getresponse() as answer:
                if self._over:  # what was cut looks like an answer without the rest of its headers
                    raise TimeoutError
                with suppress(OSError, HTTPException):
                    answer.read(ANSWER)
                return answer.status, _retry_after(answer)
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        """One that is connected, and encrypted where it should be."""
        host = self._url.hostname
        assert host is not None  # the configuration was checked
        connection: HTTPConnection
        if self._url.scheme == "https":
            connection = HTTPSConnection(host, self._url.port or 443, context=_tls())
            connection.sock = _tls().wrap_socket(self._connected(host, connection.port), server_hostname=host)
        else:
            connection = HTTPConnection(host, self._url.port or 80)
            connection.sock = self._connected(host, connection.port)
        return connection

    def _connected(self, host: str, port: int) -> socket.socket:
        """To the first of the host's addresses that answers; none may use up the time of those after it."""
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for left in range(len(addresses), 0, -1):
            family, kind, protocol, _, address = addresses[-left]
            connection = socket.socket(family, kind, protocol)
            try:
                self._hold(connection)
                connection.settimeout(self._seconds_left() / left)
                connection.connect(address)
                connection.settimeout(self._seconds_left())
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except OSError:
                connection.close()
                if left == 1:
                    raise
        raise OSError("the host name has no address")

    def _seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _hold(self, connection: socket.socket) -> None:
        """Let `cut` end this connection, by a descriptor of its own, which only this class closes."""
        self._let_go()
        with self._lock:
            if self._over:
                raise TimeoutError
            self._held = connection.dup()

    def _let_go(self) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None


def _retry_after(answer: HTTPResponse) -> float:
    """Seconds; 0 without the header, or where it cannot be read."""
    given = answer.getheader("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - clock.now() / 1_000_000)
    except (ValueError, OverflowError):
        return 0.0


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _reason(error: Exception) -> str:
    """In a few words, and without anything that the address or the receiver has said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, HTTPException):
        return "its answer is not HTTP"
    return getattr(error, "strerror", None) or type(error).__name__
