"""Agents killed with SIGKILL at a chosen point of their work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.kinds.configuring import Document, toml
from tests.servers.node import Node
from tests.supervisors.asking import PATHS

CHAOS = CHECKOUT / "tests/chaos"
# systemctl as on a slow host: a test may hold it before and after its request to freeze or thaw a unit, and it
# has not ended when systemd ends the agent.
SYSTEMCTL = """#!/bin/sh
hold() {
    while [ -e "/$1.hold" ]; do touch "/$1.held"; sleep 0.05; done
}
case "$*" in *" freeze -- "*|*" thaw -- "*) held=yes;; esac
[ -z "$held" ] || hold before
/usr/bin/systemctl "$@"
status=$?
[ -z "$held" ] || hold after
case "$*" in *" restart -- agent.service") sleep 5;; esac
exit $status
"""
SLOWLY = f"""
[Unit]
StartLimitIntervalSec=0
[Service]
Environment=PATH=/opt/slowly:/usr/bin:/bin PYTHONPATH={PATHS["systemctl"]}
"""
MOMENTS = ("before", "after")

Asked = TypeVar("Asked")


def fatal_agent(start_agent: StartAgent, document: Document, call: str) -> AgentProcess:
    """An agent whose worker is killed right before this call, in the form of
    `tests/chaos/own_kinds/fatal.py`."""
    path = ":".join(map(str, (CHECKOUT, CHAOS / "own_kinds", CHAOS / "warm")))
    return start_agent(config=toml(document | {"agent": {"kinds": ["fatal"]}}), env={"PYTHONPATH": path, "FATAL": call})


def killed_and_ended(agent: AgentProcess, kind: str, args: Any) -> Any:
    """The final state of an action during which the worker of a fatal agent was killed."""
    action = agent.schedule(kind, args)
    eventually((agent.directory / "fatal").exists, "the kill")
    agent.await_ready()
    return agent.await_final(action, timeout=30)["action"]


def slow_down(node: Node) -> None:
    """Give the agent of the node, which is started later, a systemctl that can be held, and no other way."""
    node.write("/opt/slowly/systemctl", SYSTEMCTL, 0o755)
    node.write("/etc/systemd/system/agent.service.d/slowly.conf", SLOWLY)


def killed_at_systemctl(agent: AgentInside, moment: str, ask: Callable[[], Asked]) -> Asked:
    """Request a pause or resume of a unit, kill the agent right before or right after its request to systemd, and
    start it again."""
    node = agent.node
    node.run("touch", f"/{moment}.hold")
    action_id = ask()
    eventually(node.path(f"/{moment}.held").exists, f"systemctl is held {moment} it tells systemd", 30)
    node.systemctl("kill", "--signal=KILL", "agent")
    eventually(lambda: node.show("agent", "ActiveState") == "failed", "systemd sees it")
    node.run("rm", f"/{moment}.hold", f"/{moment}.held")
    node.systemctl("start", "agent")
    agent.await_ready()
    return action_id
