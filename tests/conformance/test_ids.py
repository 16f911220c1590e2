"""An action has two ids, and every route accepts both."""

from __future__ import annotations

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.conformance.shapes import SUCCESS, assert_error

ACTIONS = "/api/3/stacks/default/actions"


def test_both_ids_return_the_same_action_on_both_wires(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    number = shared_agent.await_final(action_id)["action"]["async_action_id"]
    assert shared_agent.info(str(number)) == shared_agent.info(action_id)
    for suffix in ("", ".json"):
        by_number = shared_agent.get(f"{ACTIONS}/{number}{suffix}").json
        assert by_number == shared_agent.get(f"{ACTIONS}/{action_id}{suffix}").json
        assert by_number["response"]["id"] == number


def test_an_id_in_upper_case_is_the_same_id_on_every_route(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    upper = action_id.upper()
    assert upper != action_id
    assert busy_agent.info(upper) == busy_agent.info(action_id)
    assert busy_agent.get(f"{PREFIX}/output/{upper}").status == 200
    assert busy_agent.get(f"{ACTIONS}/{upper}.json").json == busy_agent.get(f"{ACTIONS}/{action_id}").json
    assert_error(busy_agent.post(f"{PREFIX}/approve/{upper}"), 403, "Forbidden")
    assert busy_agent.cancel(upper).json == {"id": action_id, "state": "FAILED"}
    again = busy_agent.post(f"{ACTIONS}/{upper}/cancel")
    assert (again.status, again.json["variant"]) == (409, "NotCancellable")


def test_schedule_returns_the_location_of_the_action(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post_schedule(SUCCESS, {})
    address = f"{PREFIX}/info/{answer.json['id']}"
    assert answer.headers["Location"] == address
    assert answer.headers["Link"] == f'<{address}>; rel="monitor"'
    assert shared_agent.get(address).status == 200
    begun = shared_agent.post(ACTIONS, json={"command": SUCCESS})
    action = shared_agent.get(begun.headers["Location"]).json["action"]
    assert action["async_action_id"] == begun.json["response"]["id"]


@pytest.mark.parametrize("suffix", ["", ".json"])
@pytest.mark.parametrize("name", ["id", "async_action_id"])
def test_an_async_action_is_cancelled_by_either_id(busy_agent: AgentProcess, name: str, suffix: str) -> None:
    action = busy_agent.info(busy_agent.schedule(SUCCESS, {}))["action"]
    answer = busy_agent.post(f"{ACTIONS}/{action[name]}/cancel{suffix}")
    assert answer.status == 200, answer
    assert answer.json["response"]["id"] == action["async_action_id"]
    assert answer.json["response"]["finished_success"] is False
    cancelled = busy_agent.info(action["id"])["action"]
    assert (cancelled["state"], cancelled["outcome"]) == ("FAILED", "cancelled")
    again = busy_agent.post(f"{ACTIONS}/{action[name]}/cancel")
    assert (again.status, again.json["variant"]) == (409, "NotCancellable")


def test_an_action_is_cancelled_by_its_number(busy_agent: AgentProcess) -> None:
    action = busy_agent.info(busy_agent.schedule(SUCCESS, {}))["action"]
    answer = busy_agent.cancel(str(action["async_action_id"]))
    assert answer.json == {"id": action["id"], "state": "FAILED"}


def test_a_number_too_large_for_any_action_is_not_found(start_agent: StartAgent) -> None:
    agent = start_agent()
    for number in (2**63 - 1, 2**63, 10**30):
        assert_error(agent.get_info(str(number)), 404, "ActionNotFound")
        answer = agent.get(f"{ACTIONS}/{number}")
        assert (answer.status, answer.json["variant"]) == (404, "ActionNotFound")
        assert_error(agent.cancel(str(number)), 404, "ActionNotFound")
