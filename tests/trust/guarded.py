"""Agents with authentication, and their token files."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from tests.agent_process import AgentProcess, Response

DBA, DBA_TOKEN = "dba@example.com", "the-token-of-the-dba-0123456789"
PINGER, PINGER_TOKEN = "pinger@example.com", "the-token-of-the-pinger-0123456"
READER, READER_TOKEN = "reader@example.com", "the-token-of-the-reader-0123456"


class Guarded(AgentProcess):
    """Calls with a token, where one is set."""

    token: str | None = None

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str | None] | None = None, **options: Any
    ) -> Response:
        own = {} if self.token is None else bearer(self.token)
        return super().request(method, path, headers=own | dict(headers or {}), **options)


class Encrypted(Guarded):
    """Calls with TLS and the certificate in `context`."""

    context: ssl.SSLContext

    def connect(self, timeout: float = 10.0) -> HTTPConnection:
        return HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context)


StartGuarded = Callable[..., Guarded]


def bearer(token: str) -> dict[str, str | None]:
    return {"Authorization": f"Bearer {token}"}


def table(email: str, token: str | None, kinds: list[str], *, read_only: bool = False) -> str:
    """The lines of one identity."""
    digest = [] if token is None else [f'sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"']
    lines = [f'["{email}"]', *digest, f"kinds = {json.dumps(kinds)}", f"read_only = {json.dumps(read_only)}"]
    return "\n".join(lines) + "\n"


THREE = (
    table(DBA, DBA_TOKEN, ["*"])
    + table(PINGER, PINGER_TOKEN, ["replicante.test.p?ng", "external.*"])
    + table(READER, READER_TOKEN, ["*"], read_only=True)
)


def write_tokens(file: Path, text: str = THREE) -> Path:
    """Write the tokens file like `agentctl token create`: mode 0600, replaced as a whole."""
    new = file.with_suffix(".new")
    new.touch(0o600)
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    return new.replace(file)


def assert_refused(answer: Response, status: int, variant: str) -> None:
    """Assert a refusal, in the form of either wire."""
    assert answer.status == status, answer
    assert answer.json["variant"] == variant
    assert answer.json["error"]
