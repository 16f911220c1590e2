"""500 connections of bad callers: a good caller is served meanwhile, and the running action continues."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from statistics import quantiles

import pytest

from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.chaos.test_many_clients import proportional_kilobytes
from tests.trust.certificates import Authority
from tests.trust.guarded import Encrypted

CROWD = 500
CALLS = 60
"""Calls of the good caller, each on a new connection."""
ADDRESSES = 4
PATH = f"{PREFIX}/schedule/replicante.test.ping"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
BODY = HEAD + b"Content-Length: 100000\r\n\r\n" + b'{"count": ' + b" " * 50_000
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
"""Requests with answers larger than the kernel's send buffer."""
SENT = {"silent": b"", "one byte": b"P", "half a head": HEAD, "half a body": BODY, "slow reader": LARGE}


class Crowd:
    """The connections, from several addresses because of the limit of connections for one address."""

    def __init__(self, port: int, sent: bytes, context: ssl.SSLContext | None) -> None:
        self._sent, self._sockets = sent, [socket.socket() for _ in range(CROWD)]
        for number, each in enumerate(self._sockets):
            each.bind((f"127.0.1.{number % ADDRESSES + 1}", 0))
            if sent is LARGE:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(20)
            each.connect(("127.0.0.1", port))
            # With TLS, silence and a single byte stall the handshake.
            if context is not None and len(sent) > 1:
                each = self._sockets[number] = context.wrap_socket(each, server_hostname="127.0.0.1")
            each.settimeout(0)
            with suppress(BlockingIOError, ssl.SSLWantWriteError):
                each.send(sent)

    def standing(self) -> int:
        """The number of connections that the agent has not closed."""
        return sum(map(_stands, self._sockets))

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _stands(client: socket.socket) -> bool:
    try:
        return bool(client.recv(1))
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def plain(directory: Path, authority: Authority) -> AgentProcess:
    return AgentProcess(directory)


def tls(directory: Path, authority: Authority, *, clients: bool = False) -> AgentProcess:
    certificate, key = authority.server()
    config = f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config += f'clients_ca = "{authority.ca}"\n' if clients else ""
    agent = Encrypted(directory, config=config)
    agent.context = authority.client("dba@example.com" if clients else None)
    return agent


def tls_with_clients_ca(directory: Path, authority: Authority) -> AgentProcess:
    return tls(directory, authority, clients=True)


@pytest.fixture(scope="module", params=[plain, tls, tls_with_clients_ca], ids=lambda make: make.__name__)
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[AgentProcess]:
    make: Callable[[Path, Authority], AgentProcess] = request.param
    agent = make(tmp_path_factory.mktemp("crowd"), authority).start()
    agent.get("/openapi.json")
    yield agent
    agent.close()


@pytest.mark.alone
@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_crowd_of_bad_callers_does_not_delay_a_good_one(agent: AgentProcess, sent: bytes) -> None:
    (worker,) = agent.workers()
    seconds_of_a_call(agent)
    before = proportional_kilobytes(worker)
    running = agent.schedule("replicante.test.loop", {"target": 100_000, "delay": 0.05})
    agent.await_state(running, "RUNNING")
    with closing(Crowd(agent.port, sent, getattr(agent, "context", None))) as crowd:
        begun = agent.info(running)["action"]["state_payload"]
        times = [seconds_of_a_call(agent) for _ in range(CALLS)]
        eventually(lambda: agent.info(running)["action"]["state_payload"] != begun, "the action continues")
        grown = proportional_kilobytes(worker) - before
        assert crowd.standing() == CROWD
    assert agent.cancel(running).status == 200
    agent.await_final(running)
    assert quantiles(times, n=100)[98] < 1, sorted(times)[-5:]
    assert grown < 60_000, grown
    assert "Traceback" not in agent.whole_log()


def seconds_of_a_call(agent: AgentProcess) -> float:
    begun = time.monotonic()
    assert agent.get(f"{PREFIX}/queue", timeout=30).status == 200
    return time.monotonic() - begun
