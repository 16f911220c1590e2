"""A request that is not complete in time is answered with 408; one that only takes a few seconds is served."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from tests.agent_process import AgentProcess, eventually
from tests.trust.slow_clients import HEADERS, LIMIT, SLOW, THREADS, Slow


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


def test_each_slow_client_gets_408_after_the_timeout(agent: AgentProcess, slow: Callable[..., Slow]) -> None:
    clients = [slow(sent, drips=sent.endswith((b"a", b"\r\n")), clients=1).sockets[0] for sent in SLOW.values()]
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
