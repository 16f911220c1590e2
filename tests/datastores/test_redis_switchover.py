"""Switchover and failover of three Redis or Valkey servers over HTTP, with the kinds alone; no file is edited."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.redis_nodes import followed_by, in_step
from tests.kinds.configuring import over, toml
from tests.servers.process import await_that
from tests.servers.redis import MAKES, RedisServer, binary_of

Trio = tuple[RedisServer, RedisServer, RedisServer]


@pytest.fixture(params=MAKES)
def trio(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[Trio]:
    """A primary a and its replicas b and c."""
    binary = binary_of(request.param)
    with (
        RedisServer(server_dir / "a", binary=binary) as a,
        RedisServer(server_dir / "b", replica_of=a, binary=binary) as b,
        RedisServer(server_dir / "c", replica_of=a, binary=binary) as c,
    ):
        in_step(a, b, c)
        yield a, b, c


def agent_of(server: RedisServer, trio: Trio, start_agent: StartAgent) -> AgentProcess:
    document = over(server)
    peers = {each.dir.name: {"url": f"redis://127.0.0.1:{each.port}"} for each in trio if each is not server}
    document["datastore"] |= {"peers": peers}
    return start_agent(config=toml(document))


def done(agent: AgentProcess, kind: str, args: dict[str, Any]) -> Any:
    action = agent.await_final(agent.schedule(kind, args), timeout=60)["action"]
    assert action["state"] == "DONE", action
    return action["state_payload"]


def refused(agent: AgentProcess, kind: str, args: dict[str, Any]) -> str:
    action = agent.await_final(agent.schedule(kind, args), timeout=60)["action"]
    assert action["state"] == "FAILED", action
    return str(action["state_payload"]["message"])


def test_after_switchover_and_failover_all_replicas_follow_the_new_primary(trio: Trio, start_agent: StartAgent) -> None:
    a, b, c = trio
    on_a, on_b, on_c = (agent_of(each, trio, start_agent) for each in trio)
    assert done(on_a, "replication.demote", {"primary": "b"})["role"] == "replica"
    assert done(on_b, "promote_slave_db", {})["role"] == "primary"
    assert done(on_c, "replication.follow", {"primary": "b"})["source"] == f"127.0.0.1:{b.port}"
    in_step(b, a, c)
    assert "accepts writes" in refused(on_c, "promote_slave_db", {})

    b.kill()
    for server in (a, c):
        await_that(lambda: "master_link_status:down" in server.cli("info", "replication"), 20)  # noqa: B023
    assert done(on_c, "promote_slave_db", {})["old_primary"] == "unreachable"
    assert done(on_a, "replication.follow", {"primary": "c"})["source"] == f"127.0.0.1:{c.port}"
    c.cli("set", "after", "1")
    in_step(c, a)
    b.start()
    b.cli("set", "after", "only here")
    assert "force discards the data" in refused(on_b, "resync_slave_db", {"primary": "c"})
    assert done(on_b, "resync_slave_db", {"primary": "c", "force": True})["discarded"]
    in_step(c, a, b)
    assert {followed_by(each) for each in (a, b)} == {f"slave 127.0.0.1:{c.port}"} and b.cli("get", "after") == "1"
