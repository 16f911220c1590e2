"""The plan of each kind on each datastore: in time, without a change, and in agreement with the action."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.api.plan import SECONDS
from tests.agent_process import PREFIX, AgentProcess
from tests.datastores.groups import DATASTORES, Group, group_of
from tests.servers.process import free_port, send

PASSWORD = "correct-horse-battery"
SUCCESS = "replicante.test.success"
USER = {"name": "u", "password": PASSWORD, "databases": ["app"], "privileges": "readonly"}
PLANNED: dict[str, list[dict[str, Any]]] = {
    "resync_slave_db": [{"primary": "silent", "force": True}, {"primary": "dead"}],
    "replication.follow": [{"primary": "silent"}, {"primary": "dead"}],
    "replication.demote": [{"primary": "silent"}, {"primary": "dead"}],
    "promote_slave_db": [{}, {"force": True}, {"max_lag": 1}],
    "disable_replication_slave_db": [{}],
    "database_create": [{"name": "new"}],
    "database_update": [{"name": "app", "owner": "u"}],
    "database_delete": [{"name": "app"}],
    "database_user_create": [USER],
    "database_user_update": [{"name": "u", "locked": True}],
    "database_user_delete": [{"name": "u"}],
    "replicante.store.stop": [{}],
    "replicante.service.stop": [{}],
    "replicante.service.restart": [{}],
    "replicante.service.gracefulrestart": [{}],
}
"""Arguments for each kind that touches a datastore."""


@dataclass
class Nodes:
    """The servers of a group and the agents of `a` and `b`."""

    group: Group
    on_a: AgentProcess
    on_b: AgentProcess
    silent: int


@pytest.fixture(scope="module", params=[each for each in DATASTORES if each != "valkey"])  # as Redis, to the agent
def nodes(
    request: pytest.FixtureRequest, module_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    with group_of(request.param, module_dir / request.param) as group, silent() as deaf:
        others = {"silent": deaf, "dead": free_port(), "a": group.a.port, "b": group.b.port, "c": group.c.port}
        agents = []
        try:
            for own in ("a", "b"):
                server = getattr(group, own)
                peers = {name: port for name, port in others.items() if name != own}
                directory = tmp_path_factory.mktemp(f"{request.param}-{own}")
                agents.append(AgentProcess(directory, config=group.configuration(server, peers)))
                agents[-1].start()
            yield Nodes(group, agents[0], agents[1], deaf)
        finally:
            for agent in agents:
                agent.close()


@contextmanager
def silent() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()[1]


def plan(agent: AgentProcess, kind: str, args: dict[str, Any]) -> Any:
    answer = agent.post(f"{PREFIX}/plan/{kind}", json=args)
    assert answer.status == 200, answer.body
    return answer.json


def test_every_plan_answers_in_time_and_changes_nothing(nodes: Nodes) -> None:
    group = nodes.group
    group.await_in_step()
    before = [group.state(each) for each in (group.a, group.b)]
    with ThreadPoolExecutor(4) as callers:  # most of them wait for the silent peer
        answers = [
            callers.submit(answered, agent, kind, args)
            for agent in (nodes.on_a, nodes.on_b)
            for kind in sorted(PLANNED.keys() & {each["kind"] for each in agent.get(f"{PREFIX}/available").json})
            for args in PLANNED[kind]
        ]
    assert {answer.result()["would"] for answer in answers} <= {*WOULD}
    assert [group.state(each) for each in (group.a, group.b)] == before


WOULD = ("nothing", "change", "disrupt", "destroy", "refuse", "unknown")


def answered(agent: AgentProcess, kind: str, args: dict[str, Any]) -> Any:
    """The plan, within the time of the API; the load of the machine is measured by a plan without queries."""
    begun = time.monotonic()
    plan(agent, SUCCESS, {})
    usual = time.monotonic() - begun
    begun = time.monotonic()
    found = plan(agent, kind, args)
    assert time.monotonic() - begun < 2 * SECONDS + 10 * usual, (kind, args)
    return found


def test_plan_names_the_unreachable_peer(nodes: Nodes) -> None:
    nodes.group.await_in_step()
    offered = {each["kind"] for each in nodes.on_a.get(f"{PREFIX}/available").json}
    for agent, kind in ((nodes.on_b, "resync_slave_db"), (nodes.on_b, "replication.follow"),
                        (nodes.on_a, "replication.demote")):  # fmt: skip
        tries = (plan(agent, kind, {"primary": "silent"}) for _ in range(5) if kind in offered)
        found = next((found for found in tries if f":{nodes.silent}" in found["summary"]), kind not in offered)
        assert found, f"{kind} names the peer"


def test_plan_of_a_promotion_is_known_although_the_primary_hangs(nodes: Nodes) -> None:
    """The primary accepts connections and never answers: then an operator needs the plan."""
    group = nodes.group
    group.await_in_step()
    before = group.state(group.b)
    pid = group.a.pid
    send(pid, signal.SIGSTOP)
    try:
        found = next((found for found in (plan(nodes.on_b, "promote_slave_db", {}) for _ in range(5))
                      if found["would"] != "unknown"), None)  # fmt: skip
        assert found is not None and found["facts"]["old_primary"] == "unreachable", found
        assert group.state(group.b) == before
    finally:
        send(pid, signal.SIGCONT)


def test_action_agrees_with_its_plan(nodes: Nodes) -> None:
    """In each scenario the plan must agree with its action."""
    group, a, b = nodes.group, nodes.on_a, nodes.on_b
    group.await_in_step()
    agrees(nodes, b, "resync_slave_db", {"primary": "a"}, "nothing")
    agrees(nodes, b, "replication.follow", {"primary": "a"}, "nothing")
    for force in (False, True):
        agrees(nodes, b, "resync_slave_db", {"primary": "c", "force": force}, "refuse")
        agrees(nodes, b, "resync_slave_db", {"primary": "dead", "force": force}, "refuse")
        agrees(
            nodes, b, "resync_slave_db", {"primary": "a", "adopt": "wrong", "mode": "copy", "force": force}, "refuse"
        )
        agrees(nodes, a, "resync_slave_db", {"primary": "b", "force": force}, "refuse")
    agrees(nodes, b, "replication.follow", {"primary": "c"}, "refuse")
    agrees(nodes, b, "replication.demote", {"primary": "a"}, "nothing")
    agrees(nodes, b, "promote_slave_db", {}, "refuse")
    agrees(nodes, a, "promote_slave_db", {}, "nothing")
    agrees(nodes, a, "replication.demote", {"primary": "c"}, "refuse")
    agrees(nodes, a, "disable_replication_slave_db", {}, "nothing", "refuse")
    users(nodes)
    agrees(nodes, b, "disable_replication_slave_db", {}, "change")
    agrees(nodes, b, "disable_replication_slave_db", {}, "nothing")
    agrees(nodes, b, "resync_slave_db", {"primary": "a"}, "change", "disrupt", "destroy")
    group.await_in_step()
    agrees(nodes, b, "promote_slave_db", {"force": True}, "change", "destroy")
    group.write(group.b)
    agrees(nodes, b, "replication.follow", {"primary": "a"}, "refuse")
    agrees(nodes, b, "resync_slave_db", {"primary": "a"}, "refuse")
    lost = agrees(nodes, b, "resync_slave_db", {"primary": "a", "force": True}, "destroy")
    assert lost["discarded"], lost
    group.write(group.a)
    group.await_in_step()


def users(nodes: Nodes) -> None:
    """Databases and users on the primary, and their refusal on the replica."""
    a, b = nodes.on_a, nodes.on_b
    if "database_create" in {each["kind"] for each in a.get(f"{PREFIX}/available").json}:
        agrees(nodes, a, "database_create", {"name": "shop"}, "change")
        agrees(nodes, a, "database_create", {"name": "shop"}, "refuse")
        nodes.group.await_in_step()
        agrees(nodes, b, "database_create", {"name": "other"}, "refuse")
        agrees(nodes, a, "database_delete", {"name": "missing"}, "refuse")
        user = USER | {"databases": ["shop"]}
    else:
        user = USER
    agrees(nodes, a, "database_user_create", user, "change")
    agrees(nodes, a, "database_user_create", user, "refuse")
    agrees(nodes, a, "database_user_update", {"name": "u", "locked": True}, "change")
    agrees(nodes, a, "database_user_delete", {"name": "u"}, "change", "destroy")
    agrees(nodes, a, "database_user_delete", {"name": "u"}, "refuse")


def agrees(nodes: Nodes, agent: AgentProcess, kind: str, args: dict[str, Any], *expected: str) -> Any:
    """Plan, act, compare; returns the payload of the action. A plan that was too slow is requested again."""
    server = nodes.group.a if agent is nodes.on_a else nodes.group.b
    before = nodes.group.state(server)
    found = next(each for each in (plan(agent, kind, args) for _ in range(20)) if each["would"] != "unknown")
    assert found["would"] in expected, (kind, args, found)
    action = agent.await_final(agent.schedule(kind, args), timeout=120)["action"]
    payload = action["state_payload"]
    if found["would"] == "refuse":
        assert action["state"] == "FAILED", (kind, args, found, action)
        assert without_numbers(found["refusal"]["reason"]) in without_numbers(payload["message"]), (found, payload)
    else:
        assert action["state"] == "DONE", (kind, args, found, action)
    if found["would"] in ("refuse", "nothing"):
        assert nodes.group.state(server) == before, (kind, args, found)
    elif kind == "resync_slave_db":
        assert payload["method"] == found["facts"]["method"], (found, payload)
        assert [each["what"] for each in payload["discarded"]] == [each["what"] for each in found["discards"]]
    return payload


def without_numbers(text: str) -> str:
    """The sentence without its amounts, which may grow between a plan and its action."""
    return re.sub(r"\d+", "N", text)
