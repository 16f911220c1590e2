"""The ping of a PostgreSQL against sockets that answer nothing, answer an error, or do not exist."""

from __future__ import annotations

import socket
import struct
import threading

from agent.datastores.postgresql.ping import PingAnswer, ping
from tests.servers.process import free_port


def test_ping_of_a_hanging_server_blocks_no_other_thread() -> None:
    """libpq's PQping, as its driver calls it, would stop the whole agent for `datastore.timeout`."""
    beats, over = [0], threading.Event()

    def beat() -> None:
        while not over.wait(0.01):
            beats[0] += 1

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        heart = threading.Thread(target=beat)
        heart.start()
        answer = ping({"host": "127.0.0.1", "port": listener.getsockname()[1]}, 0.5)
        over.set()
        heart.join()
    assert answer is PingAnswer.SILENT and beats[0] > 2


def test_ping_distinguishes_a_starting_server_from_a_refused_login() -> None:
    refused = b"SFATAL\0C28000\0Mno entry\0\0"
    starting = b"SFATAL\0C57P03\0Mstarting up\0\0"
    for body, expected in ((refused, PingAnswer.ACCEPTS), (starting, PingAnswer.REJECTS)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = threading.Thread(target=_answer, args=(listener, body))
            server.start()
            assert ping({"host": "127.0.0.1", "port": listener.getsockname()[1]}, 5) is expected
            server.join()
    assert ping({"host": "127.0.0.1", "port": free_port()}, 5) is PingAnswer.NOT_LISTENING
    assert ping({"host": "/nowhere"}, 5) is PingAnswer.NOT_LISTENING


def _answer(listener: socket.socket, body: bytes) -> None:
    client, _ = listener.accept()
    with client:
        client.recv(100)
        client.sendall(b"E" + struct.pack("!I", len(body) + 4) + body)
