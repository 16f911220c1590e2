"""Actions scheduled through each of the agent's APIs, and their results as each API returns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.agent_process import PREFIX, AgentProcess, eventually

ACTIONS = "/api/3/stacks/default/actions"
FORM = "application/x-www-form-urlencoded"
WIRES = ("actions", "async actions")

Ask = Callable[..., Any]


def perform(agent: AgentProcess, wire: str, kind: str, **args: Any) -> Any:
    """The final AsyncAction of an action scheduled through one of `WIRES`."""
    return finished(agent, begin(agent, wire, kind, **args))


def begin(agent: AgentProcess, wire: str, kind: str, **args: Any) -> int:
    """Schedule it through one of `WIRES`, or as a form; its id as an AsyncAction. No other caller may schedule."""
    if wire == "actions":
        # The Actions API does not return this number, and the action may end the agent before another request.
        earlier = agent.get(f"{ACTIONS}?per_page=100").json["response"]
        agent.schedule(kind, args)
        return max((int(each["id"]) for each in earlier), default=0) + 1
    parameters = {"command": kind} | args
    if wire == "form":
        body = urlencode(parameters, doseq=True).encode()
        answer = agent.post(ACTIONS, body=body, headers={"Content-Type": FORM})
    else:
        answer = agent.post(ACTIONS, json=parameters)
    assert answer.status == 200, answer
    return int(answer.json["response"]["id"])


def finished(agent: AgentProcess, seq: int, timeout: float = 60) -> Any:
    """The AsyncAction as soon as it is final."""

    def final() -> Any:
        action = agent.get(f"{ACTIONS}/{seq}").json["response"]
        return action if action["finished_at"] else None

    return eventually(final, f"the end of action {seq}", timeout)


def by_schedule(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The final action of the Actions API."""
    return agent.await_final(agent.schedule(kind, args), timeout=30)["action"]


def by_command(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The same for an action scheduled as an AsyncAction; both APIs must agree."""
    return _told_by_both(agent, perform(agent, "async actions", kind, **args))


def by_form(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The same, as a form."""
    return _told_by_both(agent, perform(agent, "form", kind, **args))


def refused(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The mistakes by member, equal on both wires."""
    one, other = agent.post_schedule(kind, args), agent.post(ACTIONS, json={"command": kind, **args})
    assert one.status == other.status == 400, (one, other)
    assert one.json["details"] == other.json["details"]
    assert agent.get(f"{PREFIX}/queue").json == []
    return one.json["details"]


def _told_by_both(agent: AgentProcess, action: Any) -> Any:
    other = agent.info(agent.finished()[0]["id"])["action"]
    assert (other["kind"], other["state"] == "DONE") == (action["action"], action["finished_success"])
    assert other["state_payload"] == action["finished_result"]
    return other
