"""GET info: one action and the history of its states."""

from __future__ import annotations

import time
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import (
    FAIL,
    PING,
    SUCCESS,
    assert_error,
    assert_info,
    assert_json,
    moment,
    seed,
)

WEIRD_IDS = [
    "0",
    "-1",
    "999999",
    "9" * 30,
    "\u0661",
    "null",
    "..",
    "a/b",
    "../queue",
    "' OR 1=1 --",
    "%",
    "%%s",
    " ",
    "a b",
    "line\nbreak",
    "nul\0",
    "ünïcödé",
    "🐘",
    "x" * 3000,
    "{703824bf-2c16-44f5-b4da-b21688c57043}",
    "00000000-0000-0000-0000-000000000000",
]


def test_a_finished_action_reads_as_in_the_seed(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(PING, {"count": 2})
    info = shared_agent.await_final(action_id)
    assert_json(shared_agent.get_info(action_id))
    assert_info(info)
    action = info["action"]
    assert (action["id"], action["kind"], action["state"]) == (action_id, PING, "DONE")
    assert action["args"] == {"count": 2}
    example = seed("info")["action"]
    assert action["requester"] == example["requester"]
    assert action["headers"] == example["headers"]


def test_a_queued_action_has_one_state_and_has_not_finished(busy_agent: AgentProcess) -> None:
    info = busy_agent.info(busy_agent.schedule(SUCCESS, {}))
    assert_info(info)
    assert info["action"]["state"] == "NEW"
    assert info["action"]["state_payload"] is None
    assert info["action"]["finished_ts"] is None
    assert len(info["history"]) == 1


def test_a_running_action_has_not_finished(busy_agent: AgentProcess) -> None:
    info = busy_agent.info(busy_agent.queue()[0]["id"])
    assert_info(info)
    assert info["action"]["state"] == "RUNNING"


def test_first_history_item_is_always_the_current_state(agent: AgentProcess) -> None:
    action_id = agent.schedule(PING, {"count": 100})
    state = "NEW"
    while state in ("NEW", "RUNNING"):
        info = agent.info(action_id)
        assert_info(info)
        state = info["action"]["state"]
    assert state == "DONE"


def test_history_only_grows(agent: AgentProcess) -> None:
    action_id = agent.schedule(PING, {"count": 30})
    state, before = "NEW", agent.info(action_id)["history"]
    while state in ("NEW", "RUNNING"):
        info = agent.info(action_id)
        state, after = info["action"]["state"], info["history"]
        assert after[len(after) - len(before) :] == before
        before = after


def test_times_are_those_of_the_clock_in_utc(shared_agent: AgentProcess) -> None:
    before = int(time.time())
    action = shared_agent.await_final(shared_agent.schedule(FAIL, {}))["action"]
    after = time.time()
    for member in ("created_ts", "scheduled_ts", "finished_ts"):
        assert before <= moment(action[member]).timestamp() <= after


def test_an_unknown_id_is_not_found(shared_agent: AgentProcess) -> None:
    assert_error(shared_agent.get_info(str(uuid4())), 404, "ActionNotFound")


@pytest.mark.parametrize("weird", WEIRD_IDS)
def test_unusual_id_is_not_found(shared_agent: AgentProcess, weird: str) -> None:
    shared_agent.schedule(SUCCESS, {})
    assert_error(shared_agent.get_info(weird), 404, "ActionNotFound")


@pytest.mark.parametrize("raw", ["%ff", "%ed%a0%80", "%c3", "%zz"])
def test_id_with_invalid_encoding_is_not_found(shared_agent: AgentProcess, raw: str) -> None:
    assert_error(shared_agent.get(f"{PREFIX}/info/{raw}"), 404, "ActionNotFound")


@pytest.mark.parametrize("more", [" ", "\n", "\0", "/", "x", "%"])
def test_known_id_with_a_suffix_is_not_found(shared_agent: AgentProcess, more: str) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    answer = shared_agent.get(f"{PREFIX}/info/{action_id}{quote(more, safe='')}")
    assert_error(answer, 404)
