"""POST cancel: actions that are not final can be cancelled."""

from __future__ import annotations

import pytest

from tests.agent_process import AgentProcess
from tests.conformance.shapes import FAIL, SUCCESS, assert_error, assert_info, ids


def test_a_queued_action_fails_at_once_and_never_runs(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    assert 200 <= busy_agent.cancel(action_id).status < 300
    info = busy_agent.info(action_id)
    assert_info(info)
    assert [item["state"] for item in info["history"]] == ["FAILED", "NEW"]
    assert info["action"]["state_payload"] == {"cancelled": True}
    assert action_id not in ids(busy_agent.queue())
    assert action_id == ids(busy_agent.finished())[0]


def test_a_running_action_is_stopped_and_the_next_one_starts(agent: AgentProcess) -> None:
    running, following = agent.occupy(), agent.schedule(SUCCESS, {})
    assert 200 <= agent.cancel(running).status < 300
    info = agent.await_final(running)
    assert_info(info)
    assert info["action"]["state"] == "FAILED"
    assert agent.await_final(following)["action"]["state"] == "DONE"


def test_cancel_keeps_the_order_of_the_other_actions(agent: AgentProcess) -> None:
    running = agent.occupy()
    first, second, third = (agent.schedule(SUCCESS, {}) for _ in range(3))
    agent.cancel(second)
    assert ids(agent.queue()) == [running, first, third]


@pytest.mark.parametrize("kind", [SUCCESS, FAIL])
def test_a_final_action_cannot_be_cancelled(shared_agent: AgentProcess, kind: str) -> None:
    action_id = shared_agent.schedule(kind, {})
    before = shared_agent.await_final(action_id)
    assert_error(shared_agent.cancel(action_id), 409, "NotCancellable")
    assert shared_agent.info(action_id) == before


def test_a_cancelled_action_cannot_be_cancelled_again(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    busy_agent.cancel(action_id)
    assert_error(busy_agent.cancel(action_id), 409, "NotCancellable")


@pytest.mark.parametrize("unknown", ["0e0a1f5c-2b1d-4c55-9d53-1f6f5a3b7f10", "x", "..", "🐘", "nul\0"])
def test_an_unknown_action_cannot_be_cancelled(shared_agent: AgentProcess, unknown: str) -> None:
    assert_error(shared_agent.cancel(unknown), 404, "ActionNotFound")
