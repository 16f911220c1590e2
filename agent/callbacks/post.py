"""One POST: straight to the address, within its time, and no further than where it leads."""

import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from urllib.parse import SplitResult, urlsplit

ANSWER = 65536
"""Bytes of an answer that are read, so that the receiver is not cut short; nobody looks at them."""


class NotTaken(Exception):
    """The receiver did not answer with 2xx; the message says what it did."""


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> None:
    """Raises `NotTaken`, `timeout` seconds after the beginning at the latest where it connects.

    Follows no redirect and asks no proxy, whatever the environment says; certificates are verified.
    """
    began = time.monotonic()
    parts = urlsplit(url)
    connection = _connection(parts, timeout)
    # The socket's own timeout begins anew with every byte.
    cut = threading.Timer(timeout, _cut, (connection,))
    cut.daemon = True
    cut.start()
    try:
        status = _answered(connection, parts, body, headers)
    except (OSError, HTTPException) as error:
        late = time.monotonic() - began >= timeout
        raise NotTaken(f"no answer within {timeout:g} s" if late else _reason(error)) from None
    finally:
        cut.cancel()
        connection.close()
    if not 200 <= status < 300:
        raise NotTaken(f"it answered {status}")


def _connection(parts: SplitResult, timeout: float) -> HTTPConnection:
    assert parts.hostname is not None  # the configuration was checked
    if parts.scheme == "https":
        return HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=_tls())
    return HTTPConnection(parts.hostname, parts.port, timeout=timeout)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _answered(connection: HTTPConnection, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", target, body, {**headers, "Connection": "close"})
    answer = connection.getresponse()
    with suppress(OSError, HTTPException):
        answer.read(ANSWER)
    return answer.status


def _cut(connection: HTTPConnection) -> None:
    """Wake the thread that waits for this connection; also of one that is encrypted, without a word of goodbye."""
    with suppress(OSError):
        if connection.sock is not None:
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    """In a few words, and without anything that the address or the receiver has said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, RemoteDisconnected):
        return "it hung up without an answer"
    if isinstance(error, HTTPException):
        return "it does not answer in HTTP"
    return getattr(error, "strerror", None) or type(error).__name__
