"""/live, /ready, /health and /metrics: for supervisors, load balancers and Prometheus; details for known callers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.conformance.shapes import assert_error
from tests.kinds.configuring import over, toml
from tests.servers.redis import RedisServer
from tests.trust.guarded import READER_TOKEN, Guarded, assert_refused, bearer

ROUTES = ("/live", "/ready", "/health")


@pytest.mark.parametrize("route", ROUTES)
def test_unknown_callers_get_only_the_overall_status(guarded: Guarded, route: str) -> None:
    answer = guarded.get(route)
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert answer.headers["Cache-Control"] == "no-store"
    head = guarded.request("HEAD", route)
    assert (head.status, head.body) == (200, b"")


def test_known_callers_get_the_status_of_each_part(guarded: Guarded) -> None:
    answer = guarded.get("/health", headers=bearer(READER_TOKEN))
    assert answer.json["parts"] == {"store": "can be written", "engine": "runs the queue"}
    assert guarded.get("/ready", headers=bearer(READER_TOKEN)).json == answer.json


def test_metrics_need_authentication(guarded: Guarded) -> None:
    assert_refused(guarded.get("/metrics"), 401, "Unauthenticated")
    assert_refused(guarded.get("/metrics", headers=bearer("no-such-token-0123456789")), 401, "Unauthenticated")
    answer = guarded.get("/metrics", headers=bearer(READER_TOKEN))
    assert answer.status == 200 and b"agent_executor 1.0" in answer.body


@pytest.mark.parametrize("route", ROUTES)
def test_a_wrong_token_is_refused(guarded: Guarded, route: str) -> None:
    assert_refused(guarded.get(route, headers=bearer("no-such-token-0123456789")), 401, "Unauthenticated")


def test_parts_are_shown_without_authentication(shared_agent: AgentProcess) -> None:
    assert set(shared_agent.get("/health").json["parts"]) == {"store", "engine"}
    assert_error(shared_agent.get("/health?role=leader"), 400, "InvalidQuery")
    assert_error(shared_agent.get("/ready?role=primary"), 400, "InvalidQuery")
    assert_error(shared_agent.get("/health?role=primary"), 404, "DatastoreNotConfigured")


def test_the_agent_is_not_ready_while_the_database_cannot_be_written(start_agent: StartAgent) -> None:
    agent = start_agent()
    with closing(sqlite3.connect(agent.db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = agent.get("/ready", timeout=30)
        assert_error(answer, 503, "NotHealthy")
        assert answer.json["error"] == "not healthy: store" and "locked" in answer.json["layers"][0]
        assert answer.headers["Retry-After"] == "5"
        assert agent.get("/live").status == 200
    while agent.get("/ready").status != 200:
        pass


def test_a_second_agent_names_the_process_that_runs_the_queue(start_agent: StartAgent) -> None:
    first = start_agent()
    first.occupy()
    second = start_agent(env={"AGENT_DB": str(first.db)})
    [worker] = first.workers()
    parts = second.get("/health").json["parts"]
    assert parts["engine"] == f"standby: process {worker} runs the queue"


def test_role_check_queries_the_datastore_and_readiness_does_not(start_agent: StartAgent, server_dir: Path) -> None:
    with RedisServer(server_dir / "redis", appendonly=False) as server:
        agent = start_agent(config=toml(over(server)))
        answer = agent.get("/health?role=primary")
        assert (answer.status, answer.json["parts"]) == (200, {"datastore": "is primary, writable"})
        replica = agent.get("/health?role=replica")
        assert_error(replica, 503, "NotHealthy")
        assert replica.json["layers"] == ["datastore is primary, writable"]
    while (answer := agent.get("/health?role=primary")).status == 200:
        pass
    assert answer.json["layers"][0].startswith("datastore does not answer: ")
    assert agent.get("/ready").status == 200
