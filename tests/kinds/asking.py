"""An action asked for on either wire, and what both tell of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.agent_process import PREFIX, AgentProcess, eventually

ACTIONS = "/api/3/stacks/default/actions"
FORM = "application/x-www-form-urlencoded"

Ask = Callable[..., Any]


def by_schedule(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The final action of the Actions API."""
    return agent.await_final(agent.schedule(kind, args), timeout=30)["action"]


def by_command(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The same, asked for as an AsyncAction, which tells the same of it."""
    return _told_by_both(agent, agent.post(ACTIONS, json={"command": kind, **args}))


def by_form(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """The same, as a form."""
    body = urlencode({"command": kind, **args}, doseq=True).encode()
    return _told_by_both(agent, agent.post(ACTIONS, body=body, headers={"Content-Type": FORM}))


def _told_by_both(agent: AgentProcess, answer: Any) -> Any:
    assert answer.status == 200, answer
    number = answer.json["response"]["id"]

    def finished() -> Any:
        action = agent.get(f"{ACTIONS}/{number}").json["response"]
        return action if action["finished_at"] else None

    action = eventually(finished, "it is finished", 30)
    other = agent.info(agent.finished()[0]["id"])["action"]
    assert (other["kind"], other["state"] == "DONE") == (action["action"], action["finished_success"])
    assert other["state_payload"] == action["finished_result"]
    return other


def refused(agent: AgentProcess, kind: str, **args: Any) -> Any:
    """What is wrong, by member, as both wires say it."""
    one, other = agent.post_schedule(kind, args), agent.post(ACTIONS, json={"command": kind, **args})
    assert one.status == other.status == 400, (one, other)
    assert one.json["details"] == other.json["details"]
    assert agent.get(f"{PREFIX}/queue").json == []
    return one.json["details"]
