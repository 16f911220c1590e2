"""Reads of a controller before it schedules actions: the agent, the datastore, its shards."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.chaos.test_suspended import suspended
from tests.clients import node_models
from tests.conformance.shapes import assert_error, assert_json
from tests.kinds.configuring import over, toml
from tests.servers.postgresql import PostgresServer
from tests.servers.redis import RedisServer

UNSTABLE = "/api/unstable"
NODE = {"agent": {"node": "db-1", "stack": "blue"}}


def read(agent: AgentProcess, path: str) -> Any:
    answer = agent.get(UNSTABLE + path)
    assert_json(answer)
    return answer.json


@pytest.mark.parametrize("path", [f"{PREFIX}/", PREFIX])
def test_actions_info_lists_the_offered_kinds(shared_agent: AgentProcess, path: str) -> None:
    answer = shared_agent.get(path)
    assert_json(answer)
    assert node_models.OFFERED(answer.json) == {"actions": True}


def test_agent_info_has_the_version(shared_agent: AgentProcess) -> None:
    found = node_models.AGENT_INFO(read(shared_agent, "/info/agent"))
    assert found["version"]["number"] == version("datastore-host-agent")


@pytest.mark.parametrize("path", ["/info/datastore", "/shards"])
def test_datastore_info_and_shards_are_404_without_a_datastore(shared_agent: AgentProcess, path: str) -> None:
    assert_error(shared_agent.get(UNSTABLE + path), 404, "DatastoreNotConfigured")


@pytest.mark.parametrize("path", ["/info/agent", "/info/datastore", "/shards", "/actions/"])
def test_node_info_routes_are_read_only_and_take_no_parameters(shared_agent: AgentProcess, path: str) -> None:
    assert_error(shared_agent.post(UNSTABLE + path, json={}), 405)
    assert_error(shared_agent.get(f"{UNSTABLE}{path}?page=1"), 400, "InvalidQuery")


def test_a_primary_is_one_shard_of_its_cluster(postgres_server: PostgresServer, start_agent: StartAgent) -> None:
    datastore = {"kind": "postgresql", "url": postgres_server.dsn(), "timeout": 10}
    agent = start_agent(config=toml(NODE | {"datastore": datastore}))
    known = read(agent, "/datastore")
    assert node_models.DATASTORE_INFO(read(agent, "/info/datastore")) == {
        "cluster_display_name": "blue",
        "cluster_id": known["cluster_id"],
        "id": "db-1",
        "kind": "postgresql",
        "node_id": "db-1",
        "version": known["version"],
    }
    [shard] = node_models.SHARDS(read(agent, "/shards"))["shards"]
    assert (shard["id"], shard["role"], shard["lag"]) == ("blue", "primary", None)
    assert shard["commit_offset"]["unit"] == {"unit": "bytes"} and shard["commit_offset"]["value"] > 0


def test_unreachable_datastore_keeps_its_cluster_and_has_an_unknown_role(
    redis_server: RedisServer, start_agent: StartAgent
) -> None:
    agent = start_agent(config=toml(NODE | over(redis_server)))
    before = node_models.DATASTORE_INFO(read(agent, "/info/datastore"))
    # The replication id of Redis changes with a restart: it identifies no cluster.
    assert before["cluster_id"] == "blue" and before["version"] == read(agent, "/datastore")["version"]
    assert redis_server.pid
    with suspended({redis_server.pid}):
        eventually(lambda: not read(agent, "/datastore")["reachable"], "the answer from before has expired", 60)
        assert read(agent, "/info/datastore") == before
        [shard] = node_models.SHARDS(read(agent, "/shards"))["shards"]
        assert shard["role"]["unknown"] and shard["commit_offset"] is None
        agent.stop()
        agent.start()
        assert_error(agent.get(f"{UNSTABLE}/info/datastore"), 503, "NotHealthy")
