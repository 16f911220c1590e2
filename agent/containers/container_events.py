"""The container engine's events for one container: after each, the container is checked again."""

from __future__ import annotations

import json
import select
import socket
from typing import Self
from urllib.parse import quote

from agent.util.pauses import Pauses
from agent.util.stop import Stop

LOOK_ANYWAY = 1.0
"""Seconds until a look without an event: a change before the subscription sends no event."""
LONGEST_HEAD = 64 * 1024
EVENT_STREAM = b" 200 "


class ContainerEvents:
    """Waits for the next event of a container. Without a stream of events, the waits are growing pauses."""

    def __init__(self, connection: socket.socket | None, id: str) -> None:
        """`connection` is a socket to the engine, None if the engine is unreachable. The `with` block closes it."""
        self._connection = connection
        self._pauses = Pauses()
        if connection is not None and not _subscribed(connection, id):
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def reported(self) -> bool:
        """Whether the engine reports events."""
        return self._connection is not None

    def wait(self, seconds: float, stop: Stop) -> None:
        """Wait for an event or a stop, at most `seconds`."""
        if self._connection is None:
            stop.wait(min(seconds, self._pauses.next()))
            return
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(stop.fileno(), select.POLLIN)
        found = [descriptor for descriptor, _ in poller.poll(1000 * min(seconds, LOOK_ANYWAY))]
        if self._connection.fileno() in found and not _received(self._connection):
            self._close()  # the engine was stopped: poll from now on

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _subscribed(connection: socket.socket, id: str) -> bool:
    """Whether the engine answers with a stream of events."""
    filters = quote(json.dumps({"type": ["container"], "container": [id]}))
    # With HTTP/1.0 the response is not chunked.
    request = f"GET /events?filters={filters} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    head = b""
    try:
        connection.sendall(request.encode())
        while b"\r\n\r\n" not in head and len(head) < LONGEST_HEAD:
            if not (piece := connection.recv(4096)):
                return False
            head += piece
        connection.setblocking(False)
    except OSError:
        return False
    return EVENT_STREAM in head.partition(b"\r\n")[0]


def _received(connection: socket.socket) -> bytes:
    """The bytes available; empty at the end of the stream."""
    try:
        return connection.recv(64 * 1024)
    except OSError:
        return b""
