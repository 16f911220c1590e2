"""Large bodies of callers without permissions take a bounded amount of memory and block no good caller."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.server.body_memory import MOST
from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.chaos.test_many_clients import proportional_kilobytes
from tests.kinds.configuring import toml
from tests.trust.guarded import DBA_TOKEN, Guarded, write_tokens

CLIENTS = 200
MEBIBYTE = 1024 * 1024
HEAD = (
    "POST /hooks/deploy/no-such-application HTTP/1.1\r\nHost: localhost\r\n"
    f"Content-Type: application/json\r\nContent-Length: {MEBIBYTE}\r\n\r\n"
).encode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    config = {
        "api": {"tokens": str(write_tokens(tmp_path / "tokens.toml"))},
        "external_actions": {"any": {"action": ["true"], "check": ["echo", '{"status": "finished"}']}},
    }
    agent = Guarded(tmp_path, config=toml(config)).start()
    agent.token = DBA_TOKEN
    yield agent
    agent.close()


class Senders:
    """Clients of several addresses without a token that send all but the last byte of a body of a mebibyte."""

    def __init__(self, port: int) -> None:
        self._sockets = [socket.socket() for _ in range(CLIENTS)]
        self._sent = [0] * CLIENTS
        for number, each in enumerate(self._sockets):
            each.bind((f"127.0.1.{number % 4 + 1}", 0))
            each.connect(("127.0.0.1", port))
            each.sendall(HEAD)
            each.setblocking(False)

    def send(self) -> None:
        """Send as much as the agent accepts now."""
        for number, each in enumerate(self._sockets):
            left = MEBIBYTE - 1 - self._sent[number]
            try:
                while left > 0 and (sent := each.send(b"x" * min(left, 65536))):
                    self._sent[number] += sent
                    left -= sent
            except OSError:
                continue

    def ended(self) -> int:
        """The number of connections answered or closed by the agent."""
        return sum(map(_ended, self._sockets))

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _ended(client: socket.socket) -> bool:
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.alone
def test_large_bodies_of_unknown_callers_take_bounded_memory(guarded: Guarded) -> None:
    (worker,) = guarded.workers()
    before, highest = proportional_kilobytes(worker), 0

    def most_were_refused() -> bool:
        nonlocal highest
        senders.send()
        highest = max(highest, proportional_kilobytes(worker))
        return senders.ended() > CLIENTS * 3 / 4

    with closing(Senders(guarded.port)) as senders:
        eventually(most_were_refused, "they are refused as there is no room for their bodies", 15)
        for _ in range(5):
            assert guarded.post_schedule("external.any", {"x": "a" * 500_000}).status == 200
    assert highest - before < 100_000, f"{before} kB before, {highest} kB with the bodies"
    assert "too many large request bodies" in guarded.log_text()
    assert guarded.get(f"{PREFIX}/queue").status == 200


def test_body_larger_than_the_memory_limit_is_received_alone(tmp_path: Path) -> None:
    config = toml({"api": {"max_body": MOST + MEBIBYTE}})
    with closing(AgentProcess(tmp_path, config=config)) as agent:
        agent.start()
        answer = agent.post("/hooks/deploy/no-such-application", body=b"x" * (MOST + 1), timeout=60)
    assert answer.status == 401, "all of it was read, and its signature is missing"
