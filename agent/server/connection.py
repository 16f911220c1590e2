"""One connection of a client: its socket, which never blocks, and what was received and is yet to be sent."""

from __future__ import annotations

import enum
import selectors
import socket
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.server.exchange import Exchange

PIECE = 64 * 1024
"""Bytes that are received or sent at once."""
IPV6_NETWORK = 8
"""Bytes of an IPv6 address that name the network: whoever has one address has all of it."""


class Phase(enum.Enum):
    """What a connection is waiting for."""

    HANDSHAKE = enum.auto()
    REQUEST = enum.auto()
    THREAD = enum.auto()
    """A thread has it: nobody else may touch it."""
    ANSWER = enum.auto()
    """The client, to take what is to be sent."""
    GOODBYE = enum.auto()
    """The client, to close first, so that it reads the answer to its end."""


class Gone(OSError):
    """The client has closed the connection, or it broke."""


class Connection:
    """Has one owner at a time, the loop or a thread; it is not locked."""

    def __init__(self, sock: socket.socket, address: Any, server: Any, tls: ssl.SSLContext | None) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # A small answer leaves at once, also behind another packet that was not acknowledged yet.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) if tls else sock
        self.address, self.server = address, server
        self.peer = _peer(sock.family, address)
        self.phase = Phase.HANDSHAKE if tls else Phase.REQUEST
        self.since = time.monotonic()
        """When it came, or was answered last."""
        self.deadline = float("inf")
        self.answered = False
        self.received = bytearray()
        self.searched = 0
        """How much of `received` is known to hold no end of a head."""
        self.ended = False
        """The client sends no more."""
        self.sending = bytearray()
        self.exchange: Exchange | None = None
        self.events = selectors.EVENT_READ
        """What the socket must be ready for, so that it is worth another try."""

    def shake_hands(self) -> bool:
        """Go on with the handshake as far as is possible now; whether it is over. Raises `Gone` or `ssl.SSLError`."""
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
            raise Gone from error
        return True

    def receive(self) -> bool:
        """Add to `received` what has come, `PIECE` bytes at most; whether that was anything. Raises `Gone`."""
        self.events = selectors.EVENT_READ
        try:
            piece = self.sock.recv(PIECE)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
            return False
        except ssl.SSLWantWriteError:
            self.events = selectors.EVENT_WRITE
            return False
        except OSError as error:
            raise Gone from error
        self.received += piece
        self.ended = not piece
        return True

    def send(self) -> bool:
        """Send what the client takes now; whether that was all. Raises `Gone`."""
        self.events = selectors.EVENT_WRITE
        try:
            while self.sending:
                # The same bytes again after a `WantWrite`, as OpenSSL demands: `sending` only grows at its end.
                del self.sending[: self.sock.send(self.sending[:PIECE])]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLWantReadError:
            self.events = selectors.EVENT_READ
            return False
        except OSError as error:
            raise Gone from error
        return True

    def say_goodbye(self) -> None:
        """Send the end of the connection. Raises `Gone`."""
        self.events = selectors.EVENT_READ
        with suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError as error:
            raise Gone from error

    def discard(self) -> None:
        """Read over what the client still sends. Raises `Gone` at its end."""
        try:
            # Also of one that is encrypted: what it says is of no interest any more.
            if not socket.socket.recv(self.sock, PIECE):
                raise Gone
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise Gone from error

    def close(self) -> None:
        if self.exchange is not None:
            self.exchange.abandon()
            self.exchange = None
        with suppress(OSError):
            self.sock.close()


def _peer(family: int, address: Any) -> str:
    """Who shares a cap: an address, an IPv6 network, or all who come by unix sockets."""
    if family == socket.AF_UNIX:
        return "unix"
    host = str(address[0])
    if family == socket.AF_INET6:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:IPV6_NETWORK].hex()
    return host
