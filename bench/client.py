"""The agent's HTTP calls over one kept connection."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from typing import Any

from bench.figure import Unmeasured

PREFIX = "/api/unstable/actions"
SUCCESS = "replicante.test.success"
LOOP = "replicante.test.loop"


class Client:
    """One connection to an agent; raises `Unmeasured` for any answer but 200."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None, token: str | None = None) -> None:
        """`context`: use TLS. `token`: send it with each request."""
        self.connection = (
            HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
            if context
            else HTTPConnection("127.0.0.1", port, timeout=30)
        )
        self._own = {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def get(self, path: str) -> Any:
        """The JSON answer of a route under the prefix."""
        return json.loads(self.read("GET", path))

    def schedule(self, kind: str, args: object) -> str:
        """Schedule an action; returns its id."""
        answer = json.loads(self.read("POST", f"/schedule/{kind}", args))
        return str(answer["id"])

    def cancel(self, action_id: str) -> None:
        """Request the cancellation of an action."""
        self.read("POST", f"/cancel/{action_id}", {})

    def read(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of an answer."""
        headers = self._own | ({"Content-Type": "application/json"} if method == "POST" else {})
        data = json.dumps(body).encode() if method == "POST" else None
        return self._answer(method, PREFIX + path, data, headers)

    def scrape(self) -> bytes:
        """The metrics, read as Prometheus does."""
        return self._answer("GET", "/metrics", None, self._own)

    def _answer(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> bytes:
        self.connection.request(method, path, data, headers)
        response = self.connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise Unmeasured(f"{method} {path}: {response.status} {content[:300]!r}")
        return content

    def hold_queue(self) -> str:
        """Run an action that does not end by itself, so that the others wait; returns its id."""
        held = self.schedule(LOOP, {"target": 100_000, "delay": 60})
        wait_for(lambda: self.get("/queue")[0]["state"] == "RUNNING", 10, "the loop to run")
        return held


def wait_for(fact: Callable[[], bool], seconds: float, what: str, every: float = 0.02) -> None:
    """Poll a fact until it is true; raises `Unmeasured` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise Unmeasured(f"timeout after {seconds:g} s of waiting for {what}")
        time.sleep(every)
