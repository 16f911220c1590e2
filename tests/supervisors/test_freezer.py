"""Units of a real systemd are paused and resumed, with the cgroup freezer and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.agent_inside import AgentInside
from tests.agent_process import eventually
from tests.kinds.wires import WIRES, perform
from tests.servers.node import Node
from tests.supervisors.asking import ADVANCE, BINDS, PATHS, ask

REDIS = "redis-server.service"
PAUSE = f"freezer.pause(unit('{REDIS}'), Stop())"
RESUME = f"freezer.resume(unit('{REDIS}'), Stop())"
PAUSED = f"freezer.paused(unit('{REDIS}'), unit('{REDIS}').look(Stop()))"
SHELLS = """
[Service]
ExecStart=/bin/sh -c "sleep 1000 & sleep 1000 & wait"
"""


def answers(node: Node) -> bool:
    return node.run("timeout", "0.5", "redis-cli", "ping").stdout == "PONG\n"


def states(node: Node, unit: str) -> list[str]:
    """The states of all its processes, one letter each."""
    shown = node.run("ps", "-e", "-o", "stat=,cgroup=").stdout.splitlines()
    return [line[0] for line in shown if f"/{unit}" in line]


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node("freezing", binds=BINDS, keep_units=[REDIS])


@pytest.fixture(scope="module")
def old_node(start_node: Callable[..., Node]) -> Node:
    return start_node("stopping", binds=BINDS, keep_units=[REDIS], freezer=False)


def test_a_unit_is_frozen_once_and_thawed_once(node: Node) -> None:
    assert ask(node, PAUSED, PAUSE, PAUSED, PAUSE) == ["False", "frozen", "True", "paused already"]
    assert node.show(REDIS, "FreezerState") == "frozen"
    assert not answers(node)
    assert ask(node, RESUME, PAUSED, RESUME) == ["thawed", "False", "not paused"]
    assert answers(node)


def test_unit_is_paused_by_signals_without_a_freezer(old_node: Node) -> None:
    assert ask(old_node, PAUSED, PAUSE, PAUSED, PAUSE) == ["False", "paused by a signal", "True", "paused already"]
    assert not answers(old_node)
    assert ask(old_node, RESUME, PAUSED, RESUME) == ["continued", "False", "not paused"]
    assert answers(old_node)


@pytest.fixture(scope="module")
def shells(old_node: Node) -> str:
    """A unit of three processes in the node without a freezer."""
    old_node.write("/etc/systemd/system/shells.service", SHELLS)
    old_node.systemctl("daemon-reload")
    old_node.systemctl("start", "shells.service")
    eventually(lambda: len(states(old_node, "shells.service")) == 3, "its processes")
    return "shells.service"


@pytest.fixture(scope="module")
def old_agent(old_node: Node, shells: str) -> Iterator[AgentInside]:
    """An agent in that node for which this unit and the cache are processes and services."""
    units = {"shells": {"unit": shells}, "cache": {"unit": REDIS}}
    agent = AgentInside(old_node)
    yield agent.configure({"processes": units, "services": units})
    agent.close()


def test_all_processes_of_a_unit_are_stopped_and_continued(old_node: Node, shells: str) -> None:
    assert ask(old_node, "freezer.pause(unit('shells.service'), Stop())") == ["paused by a signal"]
    assert states(old_node, "shells.service") == ["T", "T", "T"]
    old_node.run("pkill", "-CONT", "-o", "-f", "sleep 1000")
    assert ask(old_node, "freezer.pause(unit('shells.service'), Stop())") == ["paused by a signal"]
    assert ask(old_node, "freezer.resume(unit('shells.service'), Stop())") == ["continued"]
    assert states(old_node, "shells.service") == ["S", "S", "S"]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("what", ["process", "service"])
def test_actions_pause_and_resume_all_processes_of_a_unit(what: str, wire: str, old_agent: AgentInside) -> None:
    message = []
    for verb in ("pause", "pause", "resume", "resume"):
        action = perform(old_agent, wire, f"{what}_{verb}", **{f"{what}_name": "shells"})
        assert action["finished_success"], action
        message.append((how(action["finished_result"]), "".join(states(old_agent.node, "shells.service"))))
    assert message == [
        ("paused by a signal", "TTT"), ("paused already", "TTT"), ("continued", "SSS"), ("not paused", "SSS"),
    ]  # fmt: skip


def how(result: Any) -> str:
    return str(result["processes"][0]["how"] if "processes" in result else result["unit"]["message"])


def test_unit_paused_by_a_signal_is_restarted_by_an_action(old_agent: AgentInside) -> None:
    assert perform(old_agent, "actions", "process_pause", process_name="cache")["finished_success"]
    assert not answers(old_agent.node)
    assert perform(old_agent, "actions", "process_restart", process_name="cache")["finished_success"]
    eventually(lambda: answers(old_agent.node), "the new one answers")


def test_processes_stopped_by_an_operator_are_continued(node: Node) -> None:
    node.systemctl("kill", "--signal=SIGSTOP", REDIS)
    node.systemctl("freeze", REDIS)
    assert ask(node, PAUSE, RESUME) == ["paused already", "continued"]
    assert answers(node) and node.show(REDIS, "FreezerState") == "running"


def test_stopped_unit_can_be_neither_paused_nor_resumed(node: Node) -> None:
    node.systemctl("stop", REDIS)
    try:
        pause, resume = ask(node, PAUSE, RESUME)
    finally:
        node.systemctl("start", REDIS)
    assert pause == f"{REDIS} is not running and so cannot be paused: inactive (dead)"
    assert resume == f"{REDIS} is not running: inactive (dead)"


def test_pause_of_a_missing_unit_or_one_without_processes_fails_with_the_reason(node: Node) -> None:
    missing, without = ask(
        node, "freezer.pause(unit('no.service'), Stop())", "freezer.pause(unit('dbus.socket'), Stop())"
    )
    assert missing == "systemd has no unit no.service"
    assert "dbus.socket" in without and "does not support freezing" in without


SLEEPING = """
[Service]
ExecStart=/bin/sleep 1000
"""
WATCHED = """
[Service]
Type=notify
NotifyAccess=all
WatchdogSec=1
Restart=on-failure
ExecStart=/bin/sh -c "systemd-notify --ready; while :; do systemd-notify WATCHDOG=1; sleep 0.2; done"
"""


@pytest.mark.parametrize("way", list(PATHS))
def test_unit_killed_while_frozen_can_be_resumed_restarted_and_paused(node: Node, way: str) -> None:
    """systemd reports such a unit as frozen even after its next start."""
    node.write("/etc/systemd/system/dying.service", SLEEPING)
    node.systemctl("daemon-reload")
    node.systemctl("start", "dying.service")
    pause, resume = (f"freezer.{verb}(unit('dying.service'), Stop())" for verb in ("pause", "resume"))

    def die() -> None:
        assert ask(node, pause, way=way) == ["frozen"]
        node.systemctl("kill", "--signal=SIGKILL", "dying.service")
        eventually(lambda: node.show("dying.service", "ActiveState") == "failed", "its death")

    die()
    failure = "dying.service is not running: failed (failed), Result: signal"
    restarted = "advance('dying.service', note('dying.service'))"
    assert ask(node, resume, restarted, prelude=ADVANCE, way=way) == [failure, "active (running)"]
    die()
    node.systemctl("start", "dying.service")
    assert node.show("dying.service", "FreezerState") == "frozen" and states(node, "dying.service") == ["S"]
    assert ask(node, resume, pause, resume, way=way) == ["not paused", "frozen", "thawed"]
    node.systemctl("stop", "dying.service")


@pytest.mark.parametrize("way", list(PATHS))
def test_paused_unit_ended_by_its_watchdog_is_restarted(node: Node, way: str) -> None:
    node.write("/etc/systemd/system/watched.service", WATCHED)
    node.systemctl("daemon-reload")
    node.systemctl("start", "watched.service")
    pause, resume = (f"freezer.{verb}(unit('watched.service'), Stop())" for verb in ("pause", "resume"))
    how = "frozen; systemd kills it unless it is resumed within its WatchdogSec of 1 s"
    assert ask(node, pause, way=way) == [how]
    eventually(lambda: node.show("watched.service", "ActiveState") == "deactivating", "its watchdog", 20)
    restarted = "advance('watched.service', note('watched.service'), 60)"
    message = ask(node, resume, restarted, prelude=ADVANCE, way=way)
    assert message == [
        "watched.service is not running: deactivating (stop-watchdog), Result: watchdog",
        "active (running)",
    ]
    node.systemctl("stop", "watched.service")
