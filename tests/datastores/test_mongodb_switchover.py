"""A switchover and a failover of a scripted set with the kinds over HTTP, with an agent for each member."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.kinds.replication import ReplicationResult
from agent.kinds.resync_slave_db import ResyncResult
from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.mongodb_sets import peers, replica_set
from tests.datastores.scripted_mongod import Group, Member
from tests.kinds.configuring import toml


@pytest.fixture
def group() -> Iterator[Group]:
    with replica_set() as group:
        yield group


def agent_of(member: Member, start_agent: StartAgent) -> AgentProcess:
    first, second, third = member.group.members
    url = f"mongodb://{member.address}/"
    datastore = {"kind": "mongodb", "url": url, "timeout": 5, **peers(a=first, b=second, c=third)}
    return start_agent(config=toml({"datastore": datastore, "service": {"unit": "mongod.service"}}))


def done(agent: AgentProcess, kind: str, **args: Any) -> Any:
    action = agent.await_final(agent.schedule(kind, args))["action"]
    assert action["state"] == "DONE", action
    schema = ResyncResult() if kind == "resync_slave_db" else ReplicationResult()
    assert schema.validate(action["state_payload"]) == {}
    return action["state_payload"]


def would(agent: AgentProcess, kind: str, **args: Any) -> str:
    answer = agent.post(f"/api/unstable/actions/plan/{kind}", json=args)
    assert answer.status == 200, answer
    return str(answer.json["would"])


def test_switchover_and_failover_by_the_kinds_alone(group: Group, start_agent: StartAgent) -> None:
    """Row 14, with the plans before each action."""
    first, second, third = group.members
    agents = [agent_of(each, start_agent) for each in group.members]
    first.write(3)
    facts = agents[0].get("/api/unstable/datastore").json
    assert (facts["role"], facts["cluster_id"], len(facts["replicas"])) == ("primary", str(group.id), 2)
    assert would(agents[1], "promote_slave_db") == "refuse"
    assert would(agents[0], "replication.demote", primary="b") == "disrupt"
    result = done(agents[0], "replication.demote", primary="b")
    assert (result["role"], result["source"]) == ("replica", second.address)
    assert done(agents[1], "promote_slave_db")["role"] == "primary"
    assert would(agents[2], "replication.follow", primary="b") == "nothing"
    assert done(agents[2], "replication.follow", primary="b")["source"] == second.address
    second.stop()
    assert would(agents[2], "promote_slave_db") == "change"
    promoted = done(agents[2], "promote_slave_db")
    assert (promoted["role"], promoted["old_primary"], promoted["held_by"]) == ("primary", "unreachable", None)
    first.follow()
    resynced = done(agents[0], "resync_slave_db", primary="c")
    assert (resynced["method"], resynced["discarded"], resynced["source"]) == ("none", [], third.address)
    refused = agents[0].await_final(agents[0].schedule("resync_slave_db", {"primary": "a", "force": True}))["action"]
    assert refused["state"] == "FAILED" and "is this server itself" in refused["state_payload"]["message"]
