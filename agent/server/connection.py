"""One connection of a client: its stream, its phase and its current request."""

from __future__ import annotations

import enum
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

from agent.server.exchange import Exchange
from agent.server.stream import Stream

IPV6_NETWORK = 8
"""Bytes of an IPv6 network prefix (/64): one client usually controls all addresses of the network."""


class Phase(enum.Enum):
    """The phase of a connection, named by what it waits for."""

    HANDSHAKE = enum.auto()
    REQUEST = enum.auto()
    THREAD = enum.auto()
    """A thread, which alone uses the connection."""
    PARKED = enum.auto()
    """The condition for which the application has parked the request."""
    ANSWER = enum.auto()
    """The client must take the bytes to send."""
    GOODBYE = enum.auto()
    """The client must close first, so that it reads the whole answer."""


class ClientConnection(Stream):
    """A connection with its state. Not locked: it has one owner at a time, the loop or a thread."""

    def __init__(self, sock: socket.socket, address: Any, server: Any, tls: ssl.SSLContext | None) -> None:
        super().__init__(sock, address, server, tls)
        self.peer = _peer(sock.family, address)
        self.phase = Phase.HANDSHAKE if tls else Phase.REQUEST
        self.since = time.monotonic()
        """Time of the connection or of the last answer."""
        self.deadline = float("inf")
        self.answered = False
        self.searched = 0
        """Bytes of `received` already searched for the end of a head."""
        self.exchange: Exchange | None = None

    def close(self) -> None:
        """Close the socket, and free the exchange."""
        if self.exchange is not None:
            self.exchange.abandon()
            self.exchange = None
        with suppress(OSError):
            self.sock.close()


def _peer(family: int, address: Any) -> str:
    """The key of the limit for each client: an address, an IPv6 network, or "unix" for all unix sockets."""
    if family == socket.AF_UNIX:
        return "unix"
    host = str(address[0])
    if family == socket.AF_INET6:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:IPV6_NETWORK].hex()
    return host
