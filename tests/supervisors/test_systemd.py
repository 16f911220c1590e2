"""The supervisor `systemd` in a node: the agent is a unit that controls other units."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, eventually
from tests.servers.node import CODE, Node

REDIS = "redis-server.service"
RUNNING, NOT_RUNNING = "the service is running", "the service is not running"

FAILING = """
[Service]
ExecStart=/bin/sh -c "exit 3"
"""
RUNS = """
[Service]
ExecStart=/bin/sleep infinity
"""
CRASHING = """
[Unit]
StartLimitBurst={0}
[Service]
Restart=always
RestartSec=50ms
ExecStart=/bin/sh -c "exit {1}"
"""
NEVER_READY = """
[Service]
Type=notify
ExecStart=/bin/sleep 1000
"""
SLOW_TO_STOP = """
[Service]
TimeoutStopSec=1
ExecStart=/bin/sh -c "trap '' TERM; while :; do sleep 0.1; done"
"""
AS_ANOTHER_USER = """
from agent.util.stop import Stop
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.supervisor import Systemd
supervisor = Systemd("redis-server.service", 10)
print(supervisor.status(Stop()).running)
try:
    supervisor.stop(Stop())
except SupervisorFailed as error:
    print(error)
"""


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node("supervised", binds=[str(CHECKOUT), sys.prefix], keep_units=[REDIS])


@pytest.fixture(scope="module")
def inside(node: Node) -> AgentInside:
    return AgentInside(node)


@pytest.fixture
def agent(inside: AgentInside) -> Iterator[AgentInside]:
    """The agent of the node; the caller configures it."""
    yield inside
    inside.close()


@pytest.fixture
def redis(node: Node) -> str:
    """The unit of a Redis that runs."""
    node.systemctl("start", REDIS)
    return REDIS


@pytest.fixture
def unit(node: Node) -> Iterator[Callable[[str], str]]:
    """Installs a unit `tried.service` with this text in the node."""

    def give(text: str) -> str:
        node.write("/etc/systemd/system/tried.service", text)
        node.systemctl("daemon-reload")
        return "tried.service"

    yield give
    node.run("systemctl", "stop", "tried.service")
    node.run("systemctl", "reset-failed", "tried.service")
    node.run("rm", "/etc/systemd/system/tried.service")


def service(attempt: int, message: str, pid: str | None) -> dict[str, Any]:
    return {"attempt": attempt, "message": message, "pid": pid}


def final(info: Any) -> tuple[str, Any]:
    return info["action"]["state"], info["action"]["state_payload"]


def shown(info: Any) -> list[Any]:
    """The payloads of the action, oldest first."""
    return [each["state_payload"] for each in reversed(info["history"]) if each["state_payload"]]


def test_a_graceful_restart_of_a_unit_that_restarts_by_itself(agent: AgentInside, node: Node, redis: str) -> None:
    node.run("redis-cli", "set", "kept", "1")
    before = node.show(redis, "MainPID")
    *stages, last = shown(agent.over(redis).perform("gracefulrestart"))
    pid = node.show(redis, "MainPID")
    assert pid != before
    assert last == {"stage": 2, "state": "DONE", "payload": service(last["payload"]["attempt"], RUNNING, pid)}
    stages = [each for each in stages if each["state"] == "DONE"]
    assert [each["stage"] for each in stages] == [0, 1]
    assert f"(pid {before}) has shut down" in stages[0]["payload"]["message"]
    assert stages[1]["payload"]["message"] == NOT_RUNNING
    assert node.run("redis-cli", "get", "kept").stdout == "1\n"


def test_graceful_stop_keeps_a_unit_with_restart_always_down(agent: AgentInside, node: Node, redis: str) -> None:
    assert node.show(redis, "Restart") == "always"
    state, payload = final(agent.over(redis).perform("gracefulstop"))
    assert (state, payload["stage"], payload["payload"]) == ("DONE", 1, service(0, NOT_RUNNING, None))
    # neither running nor waiting for its restart
    assert (node.show(redis, "ActiveState"), node.show(redis, "SubState")) == ("inactive", "dead")


def test_unit_is_stopped_started_and_restarted(agent: AgentInside, node: Node, redis: str) -> None:
    agent.over(redis)
    for _ in range(2):
        assert final(agent.perform("stop")) == ("DONE", service(0, NOT_RUNNING, None))
        assert node.show(redis, "ActiveState") == "inactive"
    for _ in range(2):
        state, payload = final(agent.perform("start"))
        pid = node.show(redis, "MainPID")
        assert (state, payload["pid"], payload["message"]) == ("DONE", pid, RUNNING)
    state, payload = final(agent.perform("restart"))
    assert state == "DONE" and payload["payload"]["pid"] == node.show(redis, "MainPID") != pid


@pytest.mark.parametrize("kind", ["start", "stop"])
def test_missing_unit_fails_at_once_with_its_name(kind: str, agent: AgentInside) -> None:
    info = agent.over("nosuch.service", attempts=1000).perform(kind)
    assert final(info) == ("FAILED", service(0, "systemd has no unit nosuch.service", None))


def test_masked_unit_fails_with_the_message_of_systemd(
    agent: AgentInside, node: Node, unit: Callable[[str], str]
) -> None:
    masked = unit(FAILING)
    node.run("ln", "-sf", "/dev/null", f"/etc/systemd/system/{masked}")
    node.systemctl("daemon-reload")
    state, payload = final(agent.over(masked).perform("start"))
    assert state == "FAILED" and f"Unit {masked} is masked" in payload["message"]


CANNOT_START = {
    "masked": ("", "is masked"),
    "bad": ("[Service]\n", "has a bad unit file setting"),
    "manual": (f"[Unit]\nRefuseManualStart=yes\n{RUNS}", "may be requested by dependency only"),
    "needing": (f"[Unit]\nRequires=no.service\n{RUNS}", "Unit no.service not found"),
    "removed": (None, "Unit tried.service not found"),
}
"""Unit files whose unit runs, but would not be started again, and the reason."""


@pytest.mark.parametrize("how", CANNOT_START)
def test_restart_does_not_stop_a_unit_that_cannot_be_started_again(
    how: str, agent: AgentInside, node: Node, unit: Callable[[str], str]
) -> None:
    text, why = CANNOT_START[how]
    tried = unit(RUNS)
    node.systemctl("start", tried)
    pid = node.show(tried, "MainPID")
    node.run("rm", f"/etc/systemd/system/{tried}")
    if text is not None:
        node.write(f"/etc/systemd/system/{tried}", text)
    node.systemctl("daemon-reload")
    agent.over(tried)
    try:
        for kind in ("restart", "gracefulrestart"):
            state, payload = final(agent.perform(kind))
            assert (state, payload.keys()) == ("FAILED", {"message"})
            assert payload["message"].startswith(f"{tried} is not stopped, as it could not be started again: ")
            assert why in payload["message"]
        assert node.show(tried, "MainPID") == pid
        assert final(agent.perform("stop")) == ("DONE", service(0, NOT_RUNNING, None))
    finally:
        node.write(f"/etc/systemd/system/{tried}", RUNS)
        node.systemctl("daemon-reload")


def test_a_start_that_has_failed_is_final_at_once_with_the_log(agent: AgentInside, unit: Callable[[str], str]) -> None:
    state, payload = final(agent.over(unit(FAILING), attempts=1000, interval=60).perform("start"))
    assert (state, payload["attempt"], payload["pid"]) == ("FAILED", 0, None)
    why = "failed (failed), Result: exit-code"
    assert payload["message"].startswith(
        f"tried.service got the request to start, but the service is not running: {why}"
    )
    assert any("status=3" in line for line in payload["journal"]), payload


def test_a_unit_that_crashes_again_and_again_is_neither_running_nor_stopped(
    agent: AgentInside, node: Node, unit: Callable[[str], str]
) -> None:
    crashing = unit(CRASHING.format(10_000, 3))
    agent.over(crashing, attempts=2)
    assert final(agent.perform("start"))[0] == "FAILED"
    eventually(lambda: int(node.show(crashing, "NRestarts")) > 2, "systemd continues to restart it", 20)
    assert final(agent.perform("stop")) == ("DONE", service(0, NOT_RUNNING, None))
    # neither running nor waiting for its restart
    assert node.show(crashing, "ActiveState") in ("inactive", "failed")


@pytest.mark.parametrize("exit_status, result", [(3, "exit-code"), (0, "start-limit-hit")])
def test_failed_unit_is_reported_with_its_result(
    exit_status: int, result: str, agent: AgentInside, unit: Callable[[str], str]
) -> None:
    crashing = unit(CRASHING.format(3, exit_status))
    state, payload = final(agent.over(crashing, attempts=5).perform("start"))
    # The message has the job's result if its end was received before the state of the unit was read.
    assert state == "FAILED"
    assert payload["message"].removesuffix(", job result: failed").endswith(f"failed (failed), Result: {result}")


def test_unit_that_never_becomes_ready_fails_after_the_attempts(
    agent: AgentInside, node: Node, unit: Callable[[str], str]
) -> None:
    *before, last = shown(agent.over(unit(NEVER_READY), attempts=2).perform("start"))
    pid = node.show("tried.service", "MainPID")
    assert before == [service(number, f"{NOT_RUNNING}: activating (start)", pid) for number in (0, 1)]
    assert last["message"].endswith("the service is not running: activating (start)")


def test_start_can_be_cancelled_while_it_is_awaited(agent: AgentInside, unit: Callable[[str], str]) -> None:
    agent.over(unit(NEVER_READY), attempts=1000, interval=60)
    action_id = agent.schedule("replicante.service.start", {})
    eventually(lambda: agent.info(action_id)["action"]["state_payload"], "the first look")
    assert agent.cancel(action_id).status == 200
    assert agent.await_final(action_id)["action"]["state_payload"]["cancelled"] is True


def test_slow_stop_is_awaited_for_any_result(agent: AgentInside, unit: Callable[[str], str]) -> None:
    agent.over(unit(SLOW_TO_STOP))
    pid = final(agent.perform("start"))[1]["pid"]
    first, *_, last = shown(agent.perform("stop"))
    assert first == service(0, "the service has not stopped: deactivating (stop-sigterm)", pid)
    assert last["attempt"] > 1 and (last["message"], last["pid"]) == (NOT_RUNNING, None)


def test_unprivileged_user_gets_a_refusal_without_a_password_prompt(node: Node, redis: str) -> None:
    node.add_code()
    message = node.run("env", f"PYTHONPATH={CODE}", "/usr/bin/python3", "-c", AS_ANOTHER_USER, user="daemon")
    running, refusal = message.stdout.splitlines()[0], message.stdout
    assert running == "True", message.stderr
    assert "the agent's user may not stop redis-server.service (see agentctl polkit): " in refusal
    assert "authentication required" in refusal or "Access denied" in refusal
    assert node.show(redis, "ActiveState") == "active"
