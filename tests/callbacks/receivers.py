"""Receivers of callbacks: real HTTP servers that accept each one, or misbehave in a chosen way."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.agent_process import AgentProcess, eventually
from tests.servers.process import free_port

TAKE = "204"


@dataclass(frozen=True)
class Received:
    """One received POST."""

    path: str
    headers: dict[str, str]
    body: bytes
    behaviour: str
    at: float = 0.0
    """Time of the receipt, by the monotonic clock."""

    @property
    def action(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        expected = "sha256=" + hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return self.headers.get("x-hub-signature-256") == expected


class Receiver:
    """One address of the loopback. `behaviours` by path: a status, perhaps with a header, or one of the words below.

    `slow` accepts after half a second, `hang` reads and never answers, `drip` sends an answer without an end,
    `garbage` is not HTTP, `close` closes without an answer, `redirect` redirects to another path.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.received: list[Received] = []
        self.behaviours: dict[str, str] = {}
        self.resumed = threading.Event()
        self._context = context
        self._server: ThreadingHTTPServer | None = None

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}{path}"

    def up(self) -> Self:
        self.resumed.clear()
        server = self._server = _Server(("127.0.0.1", self.port), _handler(self))
        if self._context:
            server.socket = self._context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def down(self) -> None:
        self.resumed.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def taken(self, path: str = "/") -> list[Received]:
        """The POSTs answered with 2xx."""
        return [
            received
            for received in list(self.received)
            if received.path == path and received.behaviour in (TAKE, "slow")
        ]

    def seqs(self, path: str = "/") -> list[int]:
        """The ids of the accepted AsyncActions, in the order of their receipt."""
        return [received.action["id"] for received in self.taken(path)]

    def await_taken(self, count: int, path: str = "/", timeout: float = 15.0) -> list[Received]:
        eventually(lambda: len(self.taken(path)) >= count, f"{count} callbacks at {path}", timeout)
        return self.taken(path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64  # without room the kernel retries after a second, which is the timeout of some tests

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: a client may disconnect, or fail in the TLS handshake."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            behaviour = receiver.behaviours.get(self.path, TAKE)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body, behaviour, time.monotonic()))
            self._behave(behaviour)

        def _behave(self, behaviour: str) -> None:
            if behaviour == "slow":
                receiver.resumed.wait(0.5)
                self._behave(TAKE)
            elif behaviour == "hang":
                receiver.resumed.wait(60)
            elif behaviour == "drip":
                self.wfile.write(b"HTTP/1.1 2")
                while not receiver.resumed.wait(0.05):
                    self.wfile.write(b"0")
            elif behaviour == "garbage":
                self.wfile.write(b"\x00\xff no HTTP at all\r\n\r\n")
            elif behaviour == "redirect":
                self.send_response(307)
                self.send_header("Location", receiver.url("/elsewhere"))
                self.end_headers()
            elif behaviour != "close":
                status, _, header = behaviour.partition(" ")
                self.send_response(int(status))
                if header:
                    self.send_header(*header.split(": ", 1))
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Does nothing: the test reads `received`."""

    return Handler


def config(urls: Iterable[str], more: str = "", **options: Any) -> str:
    """The configuration of an agent that sends callbacks to these URLs."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join([more, "[callbacks]", f"urls = {json.dumps(list(urls))}", *lines]) + "\n"


def outcomes(agent: AgentProcess, count: int) -> list[str]:
    """Schedule `count` actions and wait until they are final; their ids."""
    ids = [agent.schedule("replicante.test.success", {}) for _ in range(count)]
    agent.await_final(ids[-1])
    return ids
