"""The headers `Action-Reason`, `Not-Before` and `Not-After` of a schedule call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import SUCCESS, assert_error, moment

ACTIONS = "/api/3/stacks/default/actions"


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_the_reason_is_stored_with_the_action(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {}, headers={"Action-Reason": "ticket 7"})
    action = shared_agent.info(action_id)["action"]
    assert action["reason"] == action["headers"]["action-reason"] == "ticket 7"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_reason_is_read_as_utf_8_or_latin_1(shared_agent: AgentProcess, encoding: str) -> None:
    reason = "größer für 5 €" if encoding == "utf-8" else "größer für 5"
    # http.client sends a text as Latin-1.
    action_id = shared_agent.schedule(SUCCESS, {}, headers={"Action-Reason": reason.encode(encoding).decode("latin-1")})
    action = shared_agent.info(action_id)["action"]
    assert action["reason"] == action["headers"]["action-reason"] == reason


def test_action_is_held_until_not_before_while_others_run(start_agent: StartAgent) -> None:
    agent = start_agent()
    not_before = in_seconds(4)
    later = agent.schedule(SUCCESS, {}, headers={"Not-Before": not_before})
    action = agent.info(later)["action"]
    assert action["held"] == f"not before {action['not_before']}"
    [item] = agent.get(f"{PREFIX}/list?state=NEW").json["items"]
    assert (item["held"], item["position"]) == (action["held"], 1)
    number = action["async_action_id"]
    assert agent.get(f"{ACTIONS}/{number}").json["response"]["metadata"]["held"] == action["held"]
    assert agent.await_final(agent.schedule(SUCCESS, {}))["action"]["state"] == "DONE"
    final = agent.await_final(later, timeout=30)["action"]
    assert final["state"] == "DONE" and "held" not in final
    assert moment(final["started_ts"]) >= moment(final["not_before"])


def test_action_not_started_before_not_after_expires(start_agent: StartAgent) -> None:
    agent = start_agent()
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {}, headers={"Not-After": in_seconds(2)})
    action = agent.await_final(action_id, timeout=30)["action"]
    assert (action["state"], action["outcome"], action["started_ts"]) == ("FAILED", "expired", None)
    assert action["message"] == f"expired: not started by {action['not_after']}"
    assert action["state_payload"] == {"expired": True, "message": action["message"]}
    eventually(lambda: f"action {action_id} is FAILED: expired before it started" in agent.log_text(), "the log line")


def test_action_that_expired_while_no_agent_ran_never_starts(start_agent: StartAgent) -> None:
    agent = start_agent()
    agent.occupy()
    not_after = datetime.now(UTC) + timedelta(seconds=2)
    action_id = agent.schedule(SUCCESS, {}, headers={"Not-After": not_after.isoformat()})
    agent.kill_all()
    eventually(lambda: datetime.now(UTC) > not_after, "timeout")
    agent.start()
    action = agent.await_final(action_id, timeout=30)["action"]
    assert (action["outcome"], action["started_ts"]) == ("expired", None)


@pytest.mark.parametrize(
    "headers",
    [
        {"Not-Before": "tomorrow"},
        {"Not-Before": "2100-01-01T00:00:00"},
        {"Not-Before": ""},
        {"Not-Before": "0759-02-05T20:12:24Z"},
        {"Not-After": "2001-01-01T00:00:00Z"},
        {"Not-Before": "2001-01-01T00:00:00Z", "Not-After": "2001-01-02T00:00:00Z"},
        {"Not-Before": "2100-01-02T00:00:00Z", "Not-After": "2100-01-01T00:00:00Z"},
        {"Not-After": "9999-12-31T23:59:59-23:00"},
        {"Action-Reason": "r" * 256},
    ],
)
def test_invalid_not_before_or_not_after_is_refused(busy_agent: AgentProcess, headers: dict[str, str]) -> None:
    waiting = len(busy_agent.queue())
    assert_error(busy_agent.post_schedule(SUCCESS, {}, headers=headers), 400, "InvalidHeader")
    answer = busy_agent.post(ACTIONS, json={"command": SUCCESS}, headers=headers)
    assert (answer.status, answer.json["variant"]) == (400, "InvalidHeader")
    assert len(busy_agent.queue()) == waiting
