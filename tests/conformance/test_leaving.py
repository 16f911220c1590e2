"""A stopping worker finishes the connections that it accepted and leaves the others to the next worker."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from gunicorn.config import Config
from gunicorn.sock import TCPSocket

from agent.server import event_loop
from agent.server.event_loop import EventLoop
from tests.agent_process import eventually


def test_connection_accepted_late_during_a_stop_gets_its_full_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with closing(reception_of(listener)) as reception, socket.create_connection(address) as client:
            reception.leave()
            left = time.monotonic()
            eventually(lambda: time.monotonic() > left + event_loop.LEAVING, "its time to leave has passed")
            reception.turn()
            assert not reception.empty
            client.close()
            while not reception.empty:
                reception.turn()


def test_client_that_connects_while_the_listener_closes_is_left_to_the_next_worker() -> None:
    """In one turn the loop gets the request to end, and then the new client."""
    listener = TCPSocket(("127.0.0.1", 0), Config(), None)
    with listener.dup() as of_the_master, closing(reception_of(listener)) as reception:
        reception.leave()
        with socket.create_connection(of_the_master.getsockname()):
            reception.turn()
            assert reception.empty
            of_the_master.setblocking(True)
            of_the_master.accept()[0].close()


def test_connection_closed_to_make_room_is_counted_once() -> None:
    """In one turn the loop gets a new client, and data of the client that it closes for it."""
    config = Config()
    config.set("worker_connections", 4)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(reception_of(listener, config)) as reception,
        ExitStack() as stack,
    ):
        clients: list[socket.socket] = []

        def connect() -> socket.socket:
            clients.append(stack.enter_context(socket.create_connection(listener.getsockname())))
            return clients[-1]

        for _ in range(2):  # the limit of one address
            connect()
            reception.turn()
        connect()
        clients[0].sendall(b"G")
        for _ in range(3):
            reception.turn()
            connect()
        reception.turn()
        assert sum(is_open(each) for each in clients) == 2


def is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def reception_of(listener: Any, config: Config | None = None) -> EventLoop:
    application: Callable[..., Any] = lambda *_: ()  # noqa: E731
    return EventLoop([listener], config or Config(), application, lambda *_: None, None)
