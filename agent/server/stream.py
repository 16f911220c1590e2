"""A client's non-blocking socket with its buffers for received bytes and bytes to send."""

from __future__ import annotations

import selectors
import socket
import ssl
from contextlib import suppress
from typing import Any

PIECE = 64 * 1024
"""Maximum bytes received or sent at once."""


class ClientGone(OSError):
    """The client has closed the connection, or the connection broke."""


class Stream:
    """A non-blocking socket with its buffers; encrypted if a TLS context is given."""

    def __init__(self, sock: socket.socket, address: Any, server: Any, tls: ssl.SSLContext | None) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Send small answers at once, even while an earlier packet is not acknowledged yet.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if tls else sock
        self.address, self.server = address, server
        self.received = bytearray()
        self.ended = False
        """Whether the client has closed its side."""
        self.sending = bytearray()
        self.events = selectors.EVENT_READ
        """The selector's events to wait for before the next attempt."""

    def shake_hands(self) -> bool:
        """Continue the handshake without blocking; True once complete. Raises `ClientGone` or `ssl.SSLError`."""
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.events = selectors.EVENT_READ
            return False
        except ssl.SSLWantWriteError:
            self.events = selectors.EVENT_WRITE
            return False
        except ssl.SSLError:
            raise
        except (OSError, ValueError) as error:
            raise ClientGone from error
        return True

    def receive(self) -> bool:
        """Add up to `PIECE` bytes to `received`; False if there were none to read. Raises `ClientGone`."""
        self.events = selectors.EVENT_READ
        try:
            piece = self.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return False
        except ssl.SSLWantWriteError:
            self.events = selectors.EVENT_WRITE
            return False
        except OSError as error:
            raise ClientGone from error
        self.received += piece
        self.ended = not piece
        return True

    def send(self) -> bool:
        """Send as much of `sending` as the socket accepts now; True if all was sent. Raises `ClientGone`."""
        self.events = selectors.EVENT_WRITE
        try:
            while self.sending:
                # OpenSSL requires the same bytes again after a `WantWrite`: `sending` only grows at its end.
                del self.sending[: self.sock.send(self.sending[:PIECE])]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLWantReadError:
            self.events = selectors.EVENT_READ
            return False
        except OSError as error:
            raise ClientGone from error
        return True

    def say_goodbye(self) -> None:
        """Close this side of the connection. Raises `ClientGone`."""
        self.events = selectors.EVENT_READ
        with suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError as error:
            raise ClientGone from error

    def discard(self) -> None:
        """Discard the bytes that the client still sends. Raises `ClientGone` when the client has closed its side."""
        try:
            # Not decrypted: the bytes are discarded.
            if not socket.socket.recv(self.sock, PIECE):
                raise ClientGone
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise ClientGone from error
