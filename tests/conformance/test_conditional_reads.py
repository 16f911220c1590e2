"""`ETag`, `If-None-Match` and `Prefer` on the lists and on the AsyncAction routes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import LOOP, SUCCESS

ACTIONS = "/api/3/stacks/default/actions"
LISTS = [f"{PREFIX}/queue", f"{PREFIX}/finished", f"{PREFIX}/list", f"{PREFIX}/list?state=NEW", ACTIONS]


@pytest.mark.parametrize("address", LISTS)
def test_unchanged_list_is_answered_with_304(busy_agent: AgentProcess, address: str) -> None:
    first = busy_agent.get(address)
    seen = {"If-None-Match": first.headers["ETag"]}
    again = busy_agent.get(address, headers=seen)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    action_id = busy_agent.schedule(SUCCESS, {})
    changed = busy_agent.get(address, headers=seen)
    assert changed.status == 200
    busy_agent.cancel(action_id)
    assert busy_agent.get(address, headers={"If-None-Match": changed.headers["ETag"]}).status == 200


@pytest.mark.parametrize("address", LISTS)
def test_long_poll_of_a_list_returns_at_its_change(busy_agent: AgentProcess, address: str) -> None:
    seen = busy_agent.get(address).headers["ETag"]
    headers = {"If-None-Match": seen, "Prefer": "wait=20"}
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(busy_agent.get, address, headers=headers, timeout=30)
        action_id = busy_agent.schedule(SUCCESS, {})
        answer = call.result()
    assert answer.status == 200
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert answer.headers["ETag"] != seen
    busy_agent.cancel(action_id)


def test_a_list_changes_with_the_progress_of_an_action(agent: AgentProcess) -> None:
    action_id = agent.schedule(LOOP, {"target": 600, "delay": 0.2})
    agent.await_state(action_id, "RUNNING")
    tags = {agent.get(f"{PREFIX}/list").headers["ETag"]}
    eventually(lambda: len(tags.union({agent.get(f"{PREFIX}/list").headers["ETag"]})) > 1, "another tag")


@pytest.mark.parametrize("address", [f"{PREFIX}/info", ACTIONS])
def test_until_final_answers_only_once_the_action_is_final(start_agent: StartAgent, address: str) -> None:
    agent = start_agent()
    action_id = agent.schedule(LOOP, {"target": 3, "delay": 0.2})
    answer = agent.get(f"{address}/{action_id}", headers={"Prefer": "wait=30, until=final"}, timeout=40)
    assert answer.headers["Preference-Applied"] == "wait=30, until=final"
    found = answer.json.get("action", answer.json.get("response"))
    assert found.get("state", "DONE") == "DONE" and found.get("finished_success", True) is True


def test_until_final_ends_after_the_wait(busy_agent: AgentProcess) -> None:
    running = busy_agent.queue()[0]["id"]
    answer = busy_agent.get_info(running, headers={"Prefer": "wait=1, until=final"})
    assert (answer.status, answer.json["action"]["state"]) == (200, "RUNNING")


def test_unchanged_async_action_is_answered_with_304(agent: AgentProcess) -> None:
    number = agent.info(agent.schedule(SUCCESS, {}))["action"]["async_action_id"]
    final = agent.get(f"{ACTIONS}/{number}", headers={"Prefer": "wait=20, until=final"}, timeout=30)
    assert "immutable" in final.headers["Cache-Control"]
    again = agent.get(f"{ACTIONS}/{number}.json", headers={"If-None-Match": final.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_unknown_action_is_answered_without_a_wait(agent: AgentProcess) -> None:
    answer = agent.get(f"{ACTIONS}/999", headers={"Prefer": "wait=20, until=final"})
    assert (answer.status, answer.json["variant"]) == (404, "ActionNotFound")
