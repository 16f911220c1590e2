"""A slow client delays no other client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.conformance.shapes import SUCCESS

THREADS = 8
LIMIT = 30
"""Seconds after which the agent ends the request of a slow client."""
WHOLE = f"GET {PREFIX}/queue HTTP/1.1\r\nHost: localhost\r\n"
HEADERS = f"POST {PREFIX}/schedule/{SUCCESS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "a request line that never ends": b"GET /" + b"a" * 20,
    "headers that never end": WHOLE.encode(),
    "less than its Content-Length": f"{HEADERS}Content-Length: 100\r\n\r\n{{".encode(),
    "a chunk that never ends": f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n5\r\n{{".encode(),
    "no last chunk": f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n".encode(),
    "a body that nobody reads": f"{WHOLE}Content-Length: 100\r\n\r\n{{".encode(),
}


class Slow:
    """As many clients as the agent has threads; after some bytes they send single bytes, or nothing."""

    def __init__(self, agent: AgentProcess, said: bytes, *, drips: bool, clients: int = THREADS) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", agent.port), timeout=60) for _ in range(clients)]
        self._ended = threading.Event()
        for each in self.sockets:
            each.sendall(said)
        self._dripping = threading.Thread(target=self._drip) if drips else None
        if self._dripping:
            self._dripping.start()

    def _drip(self) -> None:
        left = set(self.sockets)
        while left and not self._ended.wait(0.2):
            for each in list(left):
                try:
                    each.sendall(b" ")
                except OSError:
                    left.discard(each)

    def close(self) -> None:
        self._ended.set()
        if self._dripping:
            self._dripping.join()
        for each in self.sockets:
            each.close()


@pytest.fixture
def slow(agent: AgentProcess) -> Iterator[Callable[..., Slow]]:
    with ExitStack() as stack:

        def begin(said: bytes, **options: object) -> Slow:
            begun = Slow(agent, said, **options)  # type: ignore[arg-type]
            stack.callback(begun.close)
            return begun

        yield begin


def seconds_until_served(agent: AgentProcess) -> float:
    begun = time.monotonic()
    assert agent.get(f"{PREFIX}/queue", timeout=2 * LIMIT).status == 200
    return time.monotonic() - begun


def ended(client: socket.socket) -> bool:
    """Whether the agent closes this connection, after any answer."""
    client.settimeout(15)
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.alone
@pytest.mark.parametrize("said", SLOW.values(), ids=SLOW.keys())
def test_slow_clients_do_not_block_another(agent: AgentProcess, slow: Callable[..., Slow], said: bytes) -> None:
    slow(said, drips=said.endswith((b"a", b"\r\n")), clients=8 * THREADS)
    for _ in range(20):
        assert seconds_until_served(agent) < LIMIT / 3
    assert "Traceback" not in agent.whole_log()
    assert (agent.queue(), agent.finished()) == ([], [])


def test_each_slow_client_gets_408_after_the_timeout(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    clients = [slow(said, drips=said.endswith((b"a", b"\r\n")), clients=1).sockets[0] for said in SLOW.values()]
    begun = time.monotonic()
    for client in clients[:-1]:
        answer = client.recv(65536)
        assert b" 408 Request Timeout" in answer
        assert b'"variant": "RequestTimeout"' in answer
    assert LIMIT * 5 / 6 < time.monotonic() - begun < 2 * LIMIT
    assert b" 200 OK" in clients[-1].recv(65536), "what nobody reads is not waited for"
    assert all(ended(client) for client in clients)
    assert "a request was cut off" in agent.log_text()
    assert (agent.queue(), agent.finished()) == ([], [])


@pytest.mark.alone
def test_silent_clients_occupy_no_thread(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    slow(b"", drips=False, clients=100)
    assert seconds_until_served(agent) < LIMIT / 3


@pytest.mark.alone
def test_clients_that_do_not_close_block_no_other_client(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    """They got an answer with `Connection: close` and keep the connection open."""
    slow(f"{WHOLE}Connection: close\r\n\r\n".encode(), drips=False, clients=2 * THREADS)
    assert seconds_until_served(agent) < LIMIT / 3


@pytest.mark.alone
def test_idle_connections_make_room_for_others(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    slow(b"", drips=False, clients=560)
    assert seconds_until_served(agent) < LIMIT / 3


@pytest.mark.alone
def test_kept_connections_make_room_for_others(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    kept = slow(f"{WHOLE}\r\n".encode(), drips=False, clients=560)
    for each in kept.sockets[-100:]:
        each.recv(65536)  # it was served
    assert seconds_until_served(agent) < LIMIT / 3


def test_client_in_a_long_poll_is_not_slow(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    action_id = agent.occupy()
    tag = agent.get_info(action_id).headers["ETag"]
    slow(HEADERS.encode(), drips=False, clients=THREADS - 1)
    answer = agent.get_info(action_id, headers={"If-None-Match": tag, "Prefer": "wait=8"}, timeout=20)
    assert answer.status in (200, 304)


def test_client_that_needs_a_few_seconds_is_served(agent: AgentProcess) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), timeout=20) as client:
        for part in (HEADERS.encode(), b"Content-Length: 2\r\n\r\n", b"{", b"}"):
            time.sleep(1)
            client.sendall(part)
        assert b" 200 OK" in client.recv(65536)
    eventually(lambda: len(agent.finished()) == 1, "the action is done")
