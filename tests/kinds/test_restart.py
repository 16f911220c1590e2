"""`restart` with a real systemd: each listed unit once and in order, including the agent's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.kinds.base import NotOffered
from agent.kinds.restart import RestartResult, RestartServices
from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, eventually
from tests.kinds.configuring import settings
from tests.kinds.wires import WIRES, begin, finished, perform
from tests.servers.node import Node

SLOW, AGENT, REDIS, FAILING = "slow.service", "agent.service", "redis-server.service", "failing.service"
SLOW_UNIT = """
[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c "sleep 1; while [ -e /slow.hold ]; do sleep 0.05; done"
"""
PART_UNIT = f"""
[Unit]
{{}}={SLOW}
After={SLOW}
[Service]
ExecStart=/bin/sleep infinity
"""
FAILING_UNIT = """
[Service]
ExecStart=/bin/sh -c "exit 3"
"""


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    host = start_node("restarts", binds=[str(CHECKOUT), sys.prefix], keep_units=[REDIS])
    host.write(f"/etc/systemd/system/{SLOW}", SLOW_UNIT)
    host.write(f"/etc/systemd/system/{FAILING}", FAILING_UNIT)
    host.systemctl("daemon-reload")
    host.systemctl("start", SLOW)
    return host


@pytest.fixture(scope="module")
def agent_of(node: Node) -> Iterator[Callable[..., AgentInside]]:
    agent = AgentInside(node)
    yield lambda *units: agent.configure({"agent": {"node": "db-1"}, "host": {"services": units, "timeout": 15}})
    agent.close()


def starts(node: Node, *units: str) -> list[str]:
    """The starts of these units so far, in order."""
    shown = node.run("journalctl", "--no-pager", "--output=cat", "_PID=1").stdout.splitlines()
    words = [line.removeprefix("Started ").split(" ")[0].rstrip(".") for line in shown if line.startswith("Started ")]
    return [word for word in words if word in units]


def await_another(node: Node, unit: str, invocation: str) -> None:
    eventually(lambda: node.show(unit, "InvocationID") != invocation, f"another {unit}", 30)


def restarted(action: Any) -> list[str]:
    assert action["finished_success"], action
    assert RestartResult().validate(action["finished_result"]) == {}
    return [each["unit"] for each in action["finished_result"]["services"]]


def test_each_unit_and_the_agent_are_restarted_once_in_order(node: Node, agent_of: Callable[..., AgentInside]) -> None:
    units = [SLOW, AGENT, REDIS]
    agent = agent_of(*units)
    for wire in WIRES:
        before = starts(node, *units)
        invocation = node.show(AGENT, "InvocationID")
        seq = begin(agent, wire, "restart", server_uid="db-1")
        await_another(node, AGENT, invocation)
        agent.await_ready()
        action = finished(agent, seq)
        assert restarted(action) == units
        assert (action["resource_type"], action["finished_message"]) == ("Server", f"restarted: {', '.join(units)}")
        assert starts(node, *units)[len(before) :] == units
        pids = [each["pid"] for each in action["finished_result"]["services"]]
        assert pids == [node.show(unit, "MainPID") for unit in units]


@pytest.mark.parametrize("how", ["PartOf", "BindsTo"])
def test_unit_that_is_restarted_with_another_one_is_not_restarted_again(
    how: str, node: Node, agent_of: Callable[..., AgentInside]
) -> None:
    node.write("/etc/systemd/system/part.service", PART_UNIT.format(how))
    node.systemctl("daemon-reload")
    node.systemctl("start", "part.service")
    units = [SLOW, "part.service"]
    agent = agent_of(*units)
    before = starts(node, *units)
    assert restarted(perform(agent, "actions", "restart")) == units
    assert starts(node, *units) == [*before, *units]
    assert restarted(perform(agent, "actions", "restart")) == units
    assert starts(node, *units) == [*before, *units, *units]


def test_killed_agent_restarts_each_unit_once(node: Node, agent_of: Callable[..., AgentInside]) -> None:
    agent = agent_of(SLOW, REDIS)
    before = starts(node, SLOW, REDIS)
    node.run("touch", "/slow.hold")
    seq = begin(agent, "actions", "restart")
    eventually(lambda: node.show(SLOW, "ActiveState") == "deactivating", "it stops", 30)
    node.systemctl("kill", "--signal=SIGKILL", AGENT)
    node.run("rm", "/slow.hold")
    eventually(lambda: starts(node, SLOW, REDIS) != before, "it is started")
    node.systemctl("start", AGENT)
    agent.await_ready()
    assert restarted(finished(agent, seq)) == [SLOW, REDIS]
    assert starts(node, SLOW, REDIS) == [*before, SLOW, REDIS]


def test_first_failed_unit_ends_the_action_and_the_others_are_listed(
    node: Node, agent_of: Callable[..., AgentInside]
) -> None:
    agent = agent_of(REDIS, FAILING, SLOW)
    before = starts(node, REDIS, SLOW)
    for wire in WIRES:
        action = perform(agent, wire, "restart")
        assert action["finished_success"] is False
        assert action["finished_message"] == (
            "failing.service was restarted and failed: failed (failed), Result: exit-code "
            "(journalctl -u failing.service); "
            "restarted: redis-server.service; not restarted: slow.service"
        )
        result = action["finished_result"]
        assert any("status=3" in line for line in result.pop("journal"))
        assert result == {"message": action["finished_message"], "restarted": [REDIS], "not_restarted": [SLOW]}
    assert starts(node, REDIS, SLOW) == [*before, REDIS, REDIS]


def test_no_unit_is_restarted_if_one_is_missing(node: Node, agent_of: Callable[..., AgentInside]) -> None:
    agent = agent_of(REDIS, "no.service")
    before = starts(node, REDIS)
    message = "systemd has no unit no.service; restarted: none; not restarted: redis-server.service, no.service"
    for wire in WIRES:
        assert perform(agent, wire, "restart")["finished_message"] == message
    assert starts(node, REDIS) == before
    for args, details in (
        ({"server": "db-2"}, {"server": ["this is db-1"]}),
        ({"services": [REDIS]}, {"services": ["Unknown field."]}),
    ):
        answer = agent.post_schedule("restart", args)
        assert (answer.status, answer.json["details"]) == (400, details)


@pytest.mark.parametrize("document", [{}, {"host": {}}, {"host": {"services": []}}])
def test_restart_without_a_list_is_not_offered(document: Any) -> None:
    with pytest.raises(NotOffered, match=r"set host.services in the configuration"):
        list(RestartServices.offered(settings(document)))
