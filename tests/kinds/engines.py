"""Containers that count their starts, and agents that use their engine."""

from __future__ import annotations

from typing import Any

from tests.agent_process import AgentProcess, eventually
from tests.kinds.configuring import Document
from tests.kinds.wires import by_schedule
from tests.servers.docker import DockerEngine

NODE = "db-1"
LABEL = "com.docker.compose.service"
STARTED = "echo started; trap exit TERM; "
WAITING = "[ -p /idle ] || busybox mkfifo /idle; cat <>/idle & wait"


def driving(engine: DockerEngine, /, **containers: Any) -> Document:
    """The configuration of an agent for this engine, with short times; `containers` changes its options."""
    return {
        "containers": {"engine": engine.url, "stop_timeout": 1, "timeout": 20} | containers,
        "host": {"timeout": 10},
    }


def run(engine: DockerEngine, name: str, *, does: str = "", service: str = "", options: tuple[str, ...] = ()) -> str:
    """Start a container that records each start, runs `does`, and waits for TERM; return its id."""
    label = ("--label", f"{LABEL}={service}") if service else ()
    return engine.run_container(name, "sh", "-c", STARTED + does + WAITING, options=[*label, *options])


def starts(engine: DockerEngine, name: str) -> int:
    """The number of starts, including the first one."""
    return engine.cli("logs", name).count("started")


def await_starts(engine: DockerEngine, counts: dict[str, int]) -> None:
    """Wait until the containers have recorded so many starts: their output reaches the engine's log a moment later."""
    eventually(lambda: {name: starts(engine, name) for name in counts} == counts, f"the starts {counts}")


def status(engine: DockerEngine, name: str) -> str:
    """The state of the container as the engine names it."""
    return engine.cli("inspect", "--format", "{{.State.Status}}", name)


def remove_all(engine: DockerEngine) -> None:
    """Remove every container; each of them ends on SIGTERM."""
    if found := engine.cli("ps", "--all", "--quiet").split():
        engine.cli("rm", "--force", *found)


def done(agent: AgentProcess, kind: str, args: Any) -> Any:
    """The result of an action that succeeds."""
    action = by_schedule(agent, kind, **args)
    assert action["state"] == "DONE", action
    return action["state_payload"]


def failure(agent: AgentProcess, kind: str, args: Any) -> str:
    """The message of an action that fails."""
    action = by_schedule(agent, kind, **args)
    assert action["state"] == "FAILED", action
    return str(action["state_payload"]["message"])
