"""Units of a real systemd are paused and go on, with the freezer of their control group and without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.node import Node
from tests.supervisors.asking import BINDS, ask

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


def test_without_a_freezer_its_processes_are_stopped(old_node: Node) -> None:
    assert ask(old_node, PAUSED, PAUSE, PAUSED, PAUSE) == ["False", "paused by a signal", "True", "paused already"]
    assert not answers(old_node)
    assert ask(old_node, RESUME, PAUSED, RESUME) == ["continued", "False", "not paused"]
    assert answers(old_node)


def test_all_processes_of_a_unit_are_stopped_and_go_on(old_node: Node) -> None:
    old_node.write("/etc/systemd/system/shells.service", SHELLS)
    old_node.systemctl("daemon-reload")
    old_node.systemctl("start", "shells.service")
    assert ask(old_node, "freezer.pause(unit('shells.service'), Stop())") == ["paused by a signal"]
    assert states(old_node, "shells.service") == ["T", "T", "T"]
    old_node.run("pkill", "-CONT", "-o", "-f", "sleep 1000")
    assert ask(old_node, "freezer.pause(unit('shells.service'), Stop())") == ["paused by a signal"]
    assert ask(old_node, "freezer.resume(unit('shells.service'), Stop())") == ["continued"]
    assert states(old_node, "shells.service") == ["S", "S", "S"]


def test_what_another_hand_stopped_in_a_unit_goes_on_too(node: Node) -> None:
    node.systemctl("kill", "--signal=SIGSTOP", REDIS)
    node.systemctl("freeze", REDIS)
    assert ask(node, PAUSE, RESUME) == ["paused already", "continued"]
    assert answers(node) and node.show(REDIS, "FreezerState") == "running"


def test_what_does_not_run_can_neither_be_paused_nor_go_on(node: Node) -> None:
    node.systemctl("stop", REDIS)
    try:
        pause, resume = ask(node, PAUSE, RESUME)
    finally:
        node.systemctl("start", REDIS)
    assert pause == f"{REDIS} is not running and so cannot be paused: inactive (dead)"
    assert resume == f"{REDIS} is not running: inactive (dead)"


def test_a_unit_that_is_missing_or_has_no_processes_is_told_so(node: Node) -> None:
    missing, without = ask(
        node, "freezer.pause(unit('no.service'), Stop())", "freezer.pause(unit('dbus.socket'), Stop())"
    )
    assert missing == "systemd has no unit no.service"
    assert "dbus.socket" in without and "does not support freezing" in without
