"""One unit of a real systemd is looked at, and restarted once however often whoever asks is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.node import Node
from tests.supervisors.asking import BINDS, ask

REDIS = "redis-server.service"
NOTE = "restart.note(unit('{0}'), Stop())"
# Goes on with what was noted until the unit is up, as an action does; `noted` may be written anew in between.
GO_ON = """
import time
from agent import clock
def go_on(name, progress, timeout=5):
    while progress["state"] != "running":
        progress = restart.go_on(unit(name), progress, timeout, Stop())
        time.sleep(0.05)
    return progress["message"]
"""
SLEEPING = """
[Service]
ExecStart=/bin/sleep 1000
"""
FAILING = """
[Service]
ExecStart=/bin/sh -c "exit 3"
"""
NEVER_READY = """
[Service]
Type=notify
ExecStart=/bin/sleep 1000
"""
POLITE = """
[Service]
ExecStart=/bin/sleep 1000
ExecStop=/bin/sh -c "kill $MAINPID; while kill -0 $MAINPID; do sleep 0.05; done"
"""
SLOW = """
[Service]
ExecStart=/bin/sh -c "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done"
"""


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node("restarting", binds=BINDS, keep_units=[REDIS])


@pytest.fixture
def unit(node: Node) -> Iterator[Callable[[str], str]]:
    """Gives the node a unit `tried.service` with the text given."""

    def give(text: str) -> str:
        node.write("/etc/systemd/system/tried.service", text)
        node.systemctl("daemon-reload")
        return "tried.service"

    yield give
    node.run("systemctl", "kill", "--signal=SIGKILL", "tried.service")
    node.run("systemctl", "stop", "tried.service")
    node.run("systemctl", "reset-failed", "tried.service")


def invocation(node: Node, unit: str) -> str:
    return node.show(unit, "InvocationID")


def restart(node: Node, unit: str, between: str = "None", progress: str = "", timeout: float = 5) -> str:
    """What a restart ends with where `between` was done after it was noted and before it was gone on with."""
    begin = f"globals().update(noted={progress or NOTE.format(unit)})"
    *_, last = ask(node, begin, between, f"go_on('{unit}', noted, {timeout})", prelude=GO_ON)
    return last


def starts(node: Node, unit: str) -> int:
    """How often systemd has started it."""
    shown = node.run("journalctl", "--no-pager", f"--unit={unit}", "--output=cat").stdout.splitlines()
    return len([line for line in shown if line.startswith("Started ")])


def test_a_unit_is_restarted_and_up(node: Node) -> None:
    before, pid = invocation(node, REDIS), node.show(REDIS, "MainPID")
    assert restart(node, REDIS) == "active (running)"
    assert invocation(node, REDIS) != before and node.show(REDIS, "MainPID") != pid


def test_one_that_does_not_run_is_started(node: Node, unit: Callable[[str], str]) -> None:
    assert restart(node, unit(SLEEPING)) == "active (running)"


def test_it_is_restarted_once_though_the_asking_was_not_written_down(node: Node, unit: Callable[[str], str]) -> None:
    slow = unit(SLOW)
    node.systemctl("start", slow)
    before = starts(node, slow)
    # As by an agent that is killed after it has asked: the restart is on its way, or has been.
    assert restart(node, slow, f"unit('{slow}').ask('restart', Stop())") == "active (running)"
    assert starts(node, slow) == before + 1
    done = f"[unit('{slow}').ask('restart', Stop()), time.sleep(1.5)]"
    assert restart(node, slow, done) == "active (running)"
    assert starts(node, slow) == before + 2


def test_what_a_reboot_left_down_is_started_and_gets_its_time_anew(node: Node, unit: Callable[[str], str]) -> None:
    asked = {"unit": "tried.service", "state": "restarting", "was": "0" * 32, "since": 1e9, "boot": "another"}
    assert restart(node, unit(SLEEPING), progress=str(asked)) == "active (running)"


def test_one_that_never_comes_up_is_told_in_time_also_after_a_reboot(node: Node, unit: Callable[[str], str]) -> None:
    asked = {"unit": "tried.service", "state": "restarting", "was": "0" * 32, "since": 1e9, "boot": "another"}
    told = restart(node, unit(NEVER_READY), progress=str(asked), timeout=0.5)
    assert told == "tried.service is not up 0.5 s after its restart: activating (start)"


def test_one_that_comes_up_and_fails_is_told_at_once(node: Node, unit: Callable[[str], str]) -> None:
    told = restart(node, unit(FAILING), timeout=60)
    why = "failed (failed), Result: exit-code (journalctl -u tried.service)"
    assert told == f"tried.service was restarted and failed: {why}"


@pytest.mark.parametrize("pause", ["freeze", "kill --signal=SIGSTOP --kill-who=main"])
def test_what_is_paused_goes_on_so_that_it_can_end(pause: str, node: Node, unit: Callable[[str], str]) -> None:
    polite = unit(POLITE)
    node.systemctl("start", polite)
    before = invocation(node, polite)
    node.systemctl(*pause.split(), polite)
    assert restart(node, polite) == "active (running)"
    assert invocation(node, polite) != before


def test_a_unit_that_is_missing_is_not_asked_for(node: Node) -> None:
    assert ask(node, NOTE.format("no.service")) == ["systemd has no unit no.service"]
