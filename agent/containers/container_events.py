"""The engine's own events of one container: they say when to look at it again."""

from __future__ import annotations

import json
import select
import socket
from typing import Self
from urllib.parse import quote

from agent.util.pauses import Pauses
from agent.util.stop import Stop

LOOK_ANYWAY = 1.0
"""Seconds after which a look is due without an event: one may come before the engine has begun to report."""
LONGEST_HEAD = 64 * 1024
EVENT_STREAM = b" 200 "


class ContainerEvents:
    """A wait for the next event of a container; an engine that reports none is looked at with growing pauses."""

    def __init__(self, connection: socket.socket | None, id: str) -> None:
        """`connection` is to the engine, and closed with the `with` block; None where there is none."""
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
        """Wait for an event or a stop, at most so many seconds."""
        if self._connection is None:
            stop.wait(min(seconds, self._pauses.next()))
            return
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        poller.register(stop.fileno(), select.POLLIN)
        found = [descriptor for descriptor, _ in poller.poll(1000 * min(seconds, LOOK_ANYWAY))]
        if self._connection.fileno() in found and not _received(self._connection):
            self._close()  # the engine was stopped: what it reports no longer is looked for

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _subscribed(connection: socket.socket, id: str) -> bool:
    """Whether the engine answers with a stream of events."""
    filters = quote(json.dumps({"type": ["container"], "container": [id]}))
    # By HTTP/1.0 an answer without a length is not cut into chunks.
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
    """What is there; nothing at the end of the stream."""
    try:
        return connection.recv(64 * 1024)
    except OSError:
        return b""
