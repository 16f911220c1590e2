"""The Connection header of an answer is correct: the connection is closed, or serves the next request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS
from tests.kinds.configuring import toml

MOST = 1_048_576
KIND = "external.any"
ANY = f"{PREFIX}/schedule/{KIND}"
NOTHING = f"{PREFIX}/schedule/nothing"
CONFIG = toml({"external_actions": {"any": {"action": ["true"], "check": ["true"]}}})


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with a kind that accepts any arguments and does nothing."""
    started = AgentProcess(tmp_path_factory.mktemp("kept"), config=CONFIG).start()
    started.occupy()
    yield started
    started.close()


def body_of(size: int, chunk: int | None) -> bytes | Iterator[bytes]:
    """A JSON body of this many bytes, as a whole or in chunks."""
    text = b'"' + b"x" * (size - 2) + b'"'
    return text if chunk is None else (text[start : start + chunk] for start in range(0, size, chunk))


def two_requests(agent: AgentProcess, method: str, path: str, body: bytes | Iterator[bytes]) -> tuple[int, str, bool]:
    """Status and `Connection` of the answer, and whether the next request used the same connection.

    The next request is always answered: the client opens a new connection if necessary.
    """
    with closing(agent.connect()) as connection:
        connection.connect()
        first = connection.sock
        answer = agent.request(method, path, body=body, connection=connection)
        next_one = agent.post(f"{PREFIX}/schedule/{SUCCESS}", json={}, connection=connection)
        assert next_one.status == 200, next_one
        return answer.status, answer.headers["Connection"], connection.sock is first


@pytest.mark.parametrize(
    ("method", "path", "size", "chunk", "status"),
    [
        ("POST", NOTHING, 65_536, None, 404),
        ("POST", NOTHING, 200_000, None, 404),
        ("POST", NOTHING, MOST + 1, None, 404),
        ("POST", NOTHING, 200_000, 100_000, 404),
        ("POST", NOTHING, 10, 100_000, 404),
        ("POST", ANY, MOST + 1, None, 413),
        ("POST", ANY, 5 * MOST, None, 413),
        ("POST", ANY, MOST + 500_000, MOST + 500_000, 413),
        ("POST", ANY, 5 * MOST, 100_000, 413),
        ("GET", f"{PREFIX}/queue", 200_000, None, 200),
        ("PUT", "/nowhere", 200_000, None, 404),
    ],
)
def test_answer_without_reading_the_body_closes_the_connection(
    agent: AgentProcess, method: str, path: str, size: int, chunk: int | None, status: int
) -> None:
    assert two_requests(agent, method, path, body_of(size, chunk)) == (status, "close", False)


@pytest.mark.parametrize(
    ("path", "size", "chunk", "status"),
    [
        (ANY, 65_536, None, 200),
        (ANY, 500_000, None, 200),
        (ANY, MOST, None, 200),
        (ANY, 500_000, 100_000, 200),
        (ANY, MOST, 100_000, 200),
        (f"{PREFIX}/schedule/{SUCCESS}", 500_000, None, 400),
        (f"{PREFIX}/schedule/replicante.test.ping", 500_000, 10_000, 400),
        (NOTHING, 65_535, None, 404),
    ],
)
def test_read_or_small_body_keeps_the_connection(
    agent: AgentProcess, path: str, size: int, chunk: int | None, status: int
) -> None:
    assert two_requests(agent, "POST", path, body_of(size, chunk)) == (status, "keep-alive", True)


def test_invalid_chunk_closes_the_connection(agent: AgentProcess) -> None:
    with closing(agent.connect()) as connection:
        connection.connect()
        head = f"POST {ANY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sock.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nno length\r\n".encode())
        answered = b"".join(iter(lambda: connection.sock.recv(65536), b""))
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answered
