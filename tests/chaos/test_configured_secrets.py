"""Secrets read from configured files are used, and are stored in no row and no file of the agent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.callbacks.receivers import Receiver
from tests.chaos.test_secrets import holding
from tests.hooks.pushing import deliver, encoded, push, signed, taken
from tests.kinds.configuring import toml
from tests.kinds.wires import by_command, by_schedule
from tests.servers.redis import RedisServer
from tests.servers.shop import Origin

CACHE, WRONG, HOOK, CALLBACK = SECRETS = (
    "cache-staple",
    "wrong-staple",
    "hook-correct-staple",
    "callback-correct-staple",
)


@dataclass(frozen=True)
class Site:
    """An origin, a cache with a password, and a receiver that accepts callbacks at / and refuses them at /down."""

    directory: Path
    origin: Origin
    cache: RedisServer
    receiver: Receiver

    def document(self) -> dict[str, Any]:
        cache = {"kind": "redis", "url": f"unix://{self.cache.socket}"}
        application = {"repository": str(self.origin.path), "path": str(self.directory / "shop")}
        return {
            "caches": {
                name: cache | {"password_file": self.file(password)}
                for name, password in (("right", CACHE), ("wrong", WRONG))
            },
            "applications": {"shop": application | {"hook_secret": self.file(HOOK)}},
            "callbacks": {
                "urls": [self.receiver.url("/"), self.receiver.url("/down")],
                "secret": self.file(CALLBACK),
            },
        }

    def file(self, secret: str) -> str:
        """A file that holds it."""
        file = self.directory / str(SECRETS.index(secret))
        file.write_text(f"{secret}\n")
        return str(file)


@pytest.fixture
def site(server_dir: Path) -> Iterator[Site]:
    receiver = Receiver()
    receiver.behaviours["/down"] = "500"
    with RedisServer(server_dir / "redis", password=CACHE, appendonly=False) as cache:
        try:
            yield Site(server_dir, Origin(server_dir), cache, receiver.up())
        finally:
            receiver.down()


def test_secrets_of_configured_files_are_in_no_row_and_no_file(site: Site, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(site.document()))
    site.cache.cli("set", "k", "1")
    for ask in (by_schedule, by_command):
        assert ask(agent, "clear_caches", caches=["right"])["state"] == "DONE"
        refused = ask(agent, "clear_caches", caches=["wrong"])
        assert refused["state"] == "FAILED" and "refuses: " in refused["state_payload"]["message"], refused
    pushed = pushed_and_deployed(agent, site)
    received = site.receiver.await_taken(5)
    assert all(each.is_signed_with(CALLBACK) for each in received)
    eventually(lambda: "/down" in {each.path for each in site.receiver.received}, "what is not taken was tried")
    assert "agent.db-wal" in holding(agent.directory, pushed), "positive control"
    assert found(agent) == {}
    agent.stop()
    with closing(sqlite3.connect(agent.db)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert "agent.db" in holding(agent.directory, pushed), "positive control"
    assert found(agent) == {}


def found(agent: AgentProcess) -> dict[str, list[str]]:
    """The secrets found in files of the agent, with the files."""
    return {secret: files for secret in SECRETS if (files := holding(agent.directory, secret))}


def pushed_and_deployed(agent: AgentProcess, site: Site) -> str:
    """The commit of a push deployed by its hook, after a push with a wrong signature."""
    pushed = site.origin.commit({"version": "one"})
    body = encoded(push(after=pushed))
    assert deliver(agent, body, headers={"X-Hub-Signature-256": signed(body, "another")}).status == 401
    begun = taken(deliver(agent, body, headers={"X-Hub-Signature-256": signed(body, HOOK)}))
    path = f"/api/3/stacks/default/actions/{begun['id']}"
    action = eventually(lambda: end if (end := agent.get(path).json["response"])["finished_at"] else {}, "the end")
    assert action["finished_success"], action
    return pushed
