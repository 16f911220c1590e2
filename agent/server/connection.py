"""One connection of a client: the stream of its socket, the phase it is in, and the request that it has open."""

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
"""Bytes of an IPv6 address that name the network: one client usually controls all of its addresses."""


class Phase(enum.Enum):
    """What a connection is waiting for."""

    HANDSHAKE = enum.auto()
    REQUEST = enum.auto()
    THREAD = enum.auto()
    """A thread has it: only that thread uses it."""
    PARKED = enum.auto()
    """The application, which waits for a fact."""
    ANSWER = enum.auto()
    """The client, to take what is to be sent."""
    GOODBYE = enum.auto()
    """The client, to close first, so that it reads the answer to its end."""


class ClientConnection(Stream):
    """Has one owner at a time, the loop or a thread; it is not locked."""

    def __init__(self, sock: socket.socket, address: Any, server: Any, tls: ssl.SSLContext | None) -> None:
        super().__init__(sock, address, server, tls)
        self.peer = _peer(sock.family, address)
        self.phase = Phase.HANDSHAKE if tls else Phase.REQUEST
        self.since = time.monotonic()
        """When it came, or was answered last."""
        self.deadline = float("inf")
        self.answered = False
        self.searched = 0
        """How much of `received` is known to hold no end of a head."""
        self.exchange: Exchange | None = None

    def close(self) -> None:
        """Close the socket, and free the exchange."""
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
