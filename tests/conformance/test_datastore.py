"""GET datastore: the facts about this node's datastore."""

from __future__ import annotations

from tests.agent_process import AgentProcess, StartAgent
from tests.chaos.test_suspended import suspended
from tests.conformance.shapes import assert_error, assert_json
from tests.kinds.configuring import over, toml
from tests.servers.redis import RedisServer

PATH = "/api/unstable/datastore"
MEMBERS = {
    "kind", "reachable", "error", "version", "cluster_id", "role", "writable", "streaming", "source", "lag", "position",
    "timeline", "replicas", "slots", "synchronous", "dirty", "unknown", "checked_ts",
}  # fmt: skip


def test_node_without_a_datastore_names_the_missing_table(shared_agent: AgentProcess) -> None:
    answer = shared_agent.get(PATH)
    assert_error(answer, 404, "DatastoreNotConfigured")
    assert "set [datastore]" in answer.json["error"]


def test_the_facts_have_the_members_of_the_protocol(redis_server: RedisServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(over(redis_server)))
    answer = agent.get(PATH)
    assert_json(answer)
    assert set(answer.json) == MEMBERS
    assert answer.json["kind"] == "redis" and answer.json["reachable"] is True
    assert (answer.json["role"], answer.json["writable"]) == ("primary", True)


def test_facts_are_read_again_after_an_action(redis_server: RedisServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(over(redis_server)))
    assert agent.get(PATH).json["reachable"] is True
    agent.await_final(agent.schedule("replicante.service.stop", {}), 30)
    assert agent.get(PATH).json["reachable"] is False


def test_a_server_that_does_not_answer_is_not_reachable(redis_server: RedisServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(over(redis_server)))
    assert redis_server.pid
    with suspended({redis_server.pid}):
        answer = agent.get(PATH)
    assert answer.status == 200 and set(answer.json) == MEMBERS
    assert answer.json["reachable"] is False and answer.json["error"]
