"""ETag and If-None-Match: unchanged answers are not sent again."""

from __future__ import annotations

import pytest

from tests.agent_process import AgentProcess
from tests.conformance.shapes import PING, SUCCESS


def test_unchanged_action_is_answered_with_304_and_no_body(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = busy_agent.get_info(action_id).headers["ETag"]
    answer = busy_agent.get_info(action_id, headers={"If-None-Match": tag})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == tag


@pytest.mark.parametrize("template", ["{}", '"other", {}', "W/{}", "*"])
def test_every_form_of_the_header_is_understood(busy_agent: AgentProcess, template: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = busy_agent.get_info(action_id).headers["ETag"].removeprefix("W/")
    sent = {"If-None-Match": template.format(tag)}
    assert busy_agent.get_info(action_id, headers=sent).status == 304


@pytest.mark.parametrize("tag", ['"other"', "nonsense", '"', ""])
def test_other_etag_is_answered_in_full(busy_agent: AgentProcess, tag: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    answer = busy_agent.get_info(action_id, headers={"If-None-Match": tag})
    assert (answer.status, answer.json["action"]["id"]) == (200, action_id)


def test_etag_changes_with_the_state(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = busy_agent.get_info(action_id).headers["ETag"]
    busy_agent.cancel(action_id)
    answer = busy_agent.get_info(action_id, headers={"If-None-Match": tag})
    assert (answer.status, answer.json["action"]["state"]) == (200, "FAILED")
    assert answer.headers["ETag"] != tag


def test_every_payload_has_its_own_etag(agent: AgentProcess) -> None:
    action_id = agent.schedule(PING, {"count": 50})
    seen: dict[str, bytes] = {}
    while agent.state(action_id) in ("NEW", "RUNNING"):
        answer = agent.get_info(action_id)
        assert seen.setdefault(answer.headers["ETag"], answer.body) == answer.body


def test_a_finished_action_may_be_cached_permanently(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    shared_agent.await_final(action_id)
    answer = shared_agent.get_info(action_id)
    assert "immutable" in answer.headers["Cache-Control"]
    again = shared_agent.get_info(action_id, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_action_that_can_still_change_is_not_immutable(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    for answer in (busy_agent.get_info(action_id), busy_agent.get_info("unknown")):
        assert "immutable" not in answer.headers.get("Cache-Control", "")
