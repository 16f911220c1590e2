"""A slow client delays no other client."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.trust.slow_clients import LIMIT, SLOW, THREADS, WHOLE, Slow


def seconds_until_served(agent: AgentProcess) -> float:
    begun = time.monotonic()
    assert agent.get(f"{PREFIX}/queue", timeout=2 * LIMIT).status == 200
    return time.monotonic() - begun


@pytest.mark.alone
@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_slow_clients_do_not_block_another(agent: AgentProcess, slow: Callable[..., Slow], sent: bytes) -> None:
    slow(sent, drips=sent.endswith((b"a", b"\r\n")), clients=8 * THREADS)
    for _ in range(20):
        assert seconds_until_served(agent) < LIMIT / 3
    assert "Traceback" not in agent.whole_log()
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
