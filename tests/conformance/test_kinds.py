"""The agent's own test kinds."""

from __future__ import annotations

import pytest

from tests.agent_process import AgentProcess, eventually
from tests.conformance.shapes import FAIL, LOOP, PING, SUCCESS, assert_info


@pytest.mark.parametrize("count", [1, 2, 5])
def test_ping_appends_one_pong_for_each_step(shared_agent: AgentProcess, count: int) -> None:
    info = shared_agent.await_final(shared_agent.schedule(PING, {"count": count}))
    pongs = info["action"]["state_payload"]
    assert info["action"]["state"] == "DONE"
    assert len(pongs) == count
    assert all(pong.startswith("Pong at ") for pong in pongs)
    recorded = [item["state_payload"] for item in info["history"] if item["state_payload"]]
    assert {len(payload) for payload in recorded} == set(range(1, count + 1))
    assert all(payload == pongs[: len(payload)] for payload in recorded)


@pytest.mark.parametrize(("kind", "state"), [(SUCCESS, "DONE"), (FAIL, "FAILED")])
def test_success_is_done_and_fail_fails(shared_agent: AgentProcess, kind: str, state: str) -> None:
    info = shared_agent.await_final(shared_agent.schedule(kind, {}))
    assert_info(info)
    assert info["action"]["state"] == state


def test_loop_ends_at_its_target(shared_agent: AgentProcess) -> None:
    info = shared_agent.await_final(shared_agent.schedule(LOOP, {"target": 3, "delay": 0}))
    assert_info(info)
    assert info["action"]["state"] == "DONE"


def test_loop_goes_from_running_to_running_with_a_new_payload(agent: AgentProcess) -> None:
    action_id = agent.schedule(LOOP, {"target": 2, "delay": 1})

    def running() -> int:
        history = agent.info(action_id)["history"]
        return len([item for item in history if item["state"] == "RUNNING"])

    eventually(lambda: running() >= 2, "it has run on", 10)
    assert_info(agent.await_final(action_id))
