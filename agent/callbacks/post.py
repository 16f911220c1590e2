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
"""Maximum bytes of an answer that are read and discarded, so that the receiver can finish it."""


class NotAccepted(Exception):
    """The receiver did not answer with 2xx; the message has the reason.

    `status` is 0 without an answer. `retry_after`: the receiver's `Retry-After` in seconds, or 0.
    """

    def __init__(self, reason: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after


class Post:
    """One request. It ends after `timeout` seconds whatever the receiver does, or as soon as it is cut.

    Only name resolution has the timeout of the system.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = urlsplit(url)
        self._timeout = timeout
        self._deadline = 0.0
        self._lock = threading.Lock()
        self._over = False
        self._held: socket.socket | None = None

    def send(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Send once. Raises `NotAccepted`.

        Follows no redirect, ignores proxies of the environment, and verifies certificates.
        """
        self._deadline = time.monotonic() + self._timeout
        # A timer, because the socket's own timeout restarts with every byte.
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
            self._release()
        if not 200 <= status < 300:
            raise NotAccepted(f"it answered {status}", status, retry_after)

    def cut(self) -> None:
        """End the request, also before it has begun or connected. Thread-safe."""
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
                if self._over:  # a cut connection looks like an answer with fewer headers
                    raise TimeoutError
                with suppress(OSError, HTTPException):
                    answer.read(ANSWER)
                return answer.status, _retry_after(answer)
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        """A new connection, with TLS for https."""
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
        """A socket to the first address of the host that answers. Each address gets an equal share of the time left."""
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
        """Let `cut` end this connection. It uses a duplicate descriptor, which only this class closes."""
        self._release()
        with self._lock:
            if self._over:
                raise TimeoutError
            self._held = connection.dup()

    def _release(self) -> None:
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None


def _retry_after(answer: HTTPResponse) -> float:
    """Seconds; 0 without a valid header."""
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
    """A short reason, without text from the URL or the receiver, which may be secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, HTTPException):
        return "its answer is not HTTP"
    return getattr(error, "strerror", None) or type(error).__name__
