"""A port of this machine that leads to a port inside a node, even after a reboot of the node."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.servers.node import Node


@contextmanager
def passage(node: Node, port: int) -> Iterator[int]:
    """Yields the port on this machine. A connection is closed at once if nothing listens inside."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            connection = node.http(port)  # RuntimeError: the node is off
            connection.connect()
            with connection.sock as inside:
                back = threading.Thread(target=_copy, args=(inside, self.request), daemon=True)
                back.start()
                _copy(self.request, inside)
                back.join()

    with _Quiet(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


class _Quiet(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Does nothing: nothing listens inside, and the closed connection is the answer."""


def _copy(one: socket.socket, other: socket.socket) -> None:
    """Copy until one of both ends, then close both."""
    with suppress(OSError):
        one.settimeout(None)
        while piece := one.recv(65536):
            other.sendall(piece)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
