"""Agents with hooks, and pushes in the form that servers of repositories send."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.agent_process import AgentProcess, Response

SECRET = "It's a Secret to Everybody"
MAIN = "refs/heads/main"
CONFIG = """
[agent]
node = "db-1"
{more}
[applications.shop]
repository = "{directory}/shop.git"
path = "{directory}/shop"
hook_secret = "{directory}/shop.secret"
[applications."team/shop"]
repository = "{directory}/shop.git"
path = "{directory}/team"
hook_secret = "{directory}/team.secret"
hook_refs = ["refs/heads/release-*", "refs/tags/v[0-9]"]
[applications.all]
repository = "{directory}/shop.git"
path = "{directory}/all"
hook_secret = "{directory}/shop.secret"
hook_refs = ["*"]
[applications.quiet]
repository = "{directory}/shop.git"
path = "{directory}/quiet"
"""
_numbers = count(1)


def hooked(directory: Path, more: str = "") -> str:
    """The configuration of an agent with applications, two of them with a hook."""
    for name in ("shop", "team"):
        (directory / f"{name}.secret").write_text(f"{SECRET}\n")
    return CONFIG.format(directory=directory, more=more)


def commit() -> str:
    """A new commit hash at each call."""
    return f"{next(_numbers):040x}"


def push(**members: Any) -> dict[str, Any]:
    """The payload of a push: the needed members, and a few more."""
    given = {"ref": MAIN, "after": commit(), "pusher": {"name": "ada", "email": "ada@example.com"}, "commits": [{}]}
    return given | members


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def signed(body: bytes, secret: str = SECRET) -> str:
    """The signature, computed without the agent's code."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def deliver(
    agent: AgentProcess,
    body: bytes,
    application: str = "shop",
    *,
    event: str | None = "push",
    headers: Mapping[str, str | None] | None = None,
) -> Response:
    """Send this body like a repository's server, correctly signed unless `headers` replace the signature."""
    own: dict[str, str | None] = {"X-GitHub-Event": event, "X-Hub-Signature-256": signed(body)}
    return agent.post(f"/hooks/deploy/{quote(application)}", body=body, headers=own | dict(headers or {}))


def taken(answer: Response) -> Any:
    """The AsyncAction of an accepted delivery."""
    assert answer.status == 200, answer
    assert set(answer.json) == {"response"}, answer
    return answer.json["response"]


def scheduled(agent: AgentProcess) -> int:
    """The number of stored actions."""
    return int(agent.get("/api/3/stacks/default/actions").json["pagination"]["count"])
