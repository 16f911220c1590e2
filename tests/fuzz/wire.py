"""Raw bytes to the agent and back, without a client that would correct them."""

from __future__ import annotations

import json
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any

from tests.agent_process import PREFIX, AgentProcess
from tests.fuzz.harmless import ANYTHING

TIMEOUT = 15.0
MEMBERS = {"error", "layers", "variant"}
OPTIONAL = {"details", "error_description"}


@dataclass(frozen=True)
class Wire:
    """One of the two APIs: its route for scheduling, and the member of the body with the kind."""

    name: str
    path: str
    body: bytes

    def post(self, body: bytes, content_type: bytes = b"application/json") -> bytes:
        """A valid request except for its body."""
        length = b"Content-Length: %d\r\n" % len(body)
        return self.head(b"Content-Type: " + content_type + b"\r\n" + length) + body

    def head(self, headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
        """A POST with these header lines."""
        return b"POST %s %s\r\nHost: localhost\r\n%s\r\n" % (self.path.encode(), version, headers)


WIRES = (
    Wire("actions", f"{PREFIX}/schedule/{ANYTHING}", b"{}"),
    Wire("async actions", "/api/3/stacks/default/actions", json.dumps({"command": ANYTHING}).encode()),
)


@dataclass(frozen=True)
class Answer:
    """One of several answers on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str | int | None:
        """The id of the scheduled action in the answer."""
        if self.status != 200 or not isinstance(self.json, dict):
            return None
        response = self.json.get("response")
        found: str | int | None = response["id"] if isinstance(response, dict) else self.json.get("id")
        return found


def talk(agent: AgentProcess, sent: bytes) -> list[Answer]:
    """Send these bytes, shut down the sending side, and read all answers up to the end of the connection."""
    with closing(socket.create_connection(("127.0.0.1", agent.port), TIMEOUT)) as connection:
        # A server that refuses a request need not read it to the end.
        with suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        return _answers(_received(connection))


def assert_clean(answers: list[Answer]) -> None:
    """Assert no failure, no traceback, and the JSON form of every refusal."""
    for answer in answers:
        assert answer.status < 500 or answer.status == 501, answer
        assert b"Traceback" not in answer.body
        if answer.status >= 400 and answer.body:
            assert answer.headers["content-type"] == "application/json", answer
            assert set(answer.json) >= MEMBERS
            assert set(answer.json) <= MEMBERS | OPTIONAL
            assert "\n" not in answer.json["error"]


def _received(connection: socket.socket) -> bytes:
    parts = []
    # Data received before a reset is valid.
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


class _Received:
    """The replacement of a socket for `HTTPResponse`."""

    def __init__(self, stream: BytesIO) -> None:
        self.stream = stream

    def makefile(self, mode: str) -> BytesIO:
        return self.stream


class _Kept(BytesIO):
    """`HTTPResponse` closes its stream after one answer; the next one is behind it."""

    def close(self) -> None:
        pass


def _answers(received: bytes) -> list[Answer]:
    """The complete answers; `AssertionError` if the bytes are anything else."""
    stream, answers = _Kept(received), []
    while stream.tell() < len(received):
        response = HTTPResponse(_Received(stream))  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read()
        except HTTPException as error:
            raise AssertionError(f"no whole answer: {error!r} in {received!r}") from None
        if response.status >= 200:
            headers = {name.lower(): value for name, value in response.getheaders()}
            answers.append(Answer(response.status, headers, body))
    return answers
