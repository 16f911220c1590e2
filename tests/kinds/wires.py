"""A kind asked for through both of the agent's wires."""

from __future__ import annotations

from typing import Any

from tests.agent_process import AgentProcess, eventually

STACK = "/api/3/stacks/default/actions"
WIRES = ("actions", "async actions")


def perform(agent: AgentProcess, wire: str, kind: str, **args: Any) -> Any:
    """The final AsyncAction of an action that is asked for through one of `WIRES`."""
    return finished(agent, begin(agent, wire, kind, **args))


def begin(agent: AgentProcess, wire: str, kind: str, **args: Any) -> int:
    """Schedule it; its id as an AsyncAction."""
    if wire == "actions":
        agent.schedule(kind, args)
        return int(agent.get(f"{STACK}?per_page=100").json["response"][-1]["id"])
    answer = agent.post(STACK, json={"command": kind} | args)
    assert answer.status == 200, answer
    return int(answer.json["response"]["id"])


def finished(agent: AgentProcess, seq: int, timeout: float = 60) -> Any:
    """The AsyncAction as soon as it is final."""

    def final() -> Any:
        action = agent.get(f"{STACK}/{seq}").json["response"]
        return action if action["finished_at"] else None

    return eventually(final, f"the end of action {seq}", timeout)
