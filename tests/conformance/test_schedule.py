"""POST schedule: the whole body is the arguments, and an accepted action is stored."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import (
    FAIL,
    LOOP,
    PING,
    SUCCESS,
    assert_error,
    assert_invalid_args,
    assert_json,
    post_body,
    seed,
)

SMALL_QUEUE = "[actions]\nqueue_limit = 3\n"
REFUSED_ARGS = [
    (PING, {"count": "many"}, "count"),
    (PING, {"count": "3"}, "count"),
    (PING, {"count": True}, "count"),
    (PING, {"count": None}, "count"),
    (PING, {"count": 1.5}, "count"),
    (PING, {"count": [1]}, "count"),
    (PING, {"count": {}}, "count"),
    (PING, {"count": -1}, "count"),
    (PING, {"count": 1, "unknown": 1}, "unknown"),
    (PING, {"count": 1, "Count": 1}, "Count"),
    (PING, {"args": {"count": 1}}, "args"),
    (LOOP, {"target": "x", "delay": 1}, "target"),
    (LOOP, {"target": -1, "delay": 1}, "target"),
    (LOOP, {"target": 1, "delay": -1}, "delay"),
    (LOOP, {"target": 1, "delay": "1"}, "delay"),
    (LOOP, {"target": 1, "delay": True}, "delay"),
    (LOOP, {"target": 1, "delay": None}, "delay"),
]


def test_example_of_the_seed_is_accepted(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post_schedule(SUCCESS, seed("schedule_request"))
    assert_json(answer)
    assert set(answer.json) == set(seed("schedule_response"))
    assert str(UUID(answer.json["id"])) == answer.json["id"]


def test_every_action_has_a_unique_id(shared_agent: AgentProcess) -> None:
    scheduled = [shared_agent.schedule(SUCCESS, {}) for _ in range(20)]
    assert len(set(scheduled)) == 20


def test_the_entire_body_is_the_arguments(shared_agent: AgentProcess) -> None:
    args = {"target": 1, "delay": 0}
    assert shared_agent.info(shared_agent.schedule(LOOP, args))["action"]["args"] == args


def test_defaults_are_not_added_to_the_stored_arguments(
    shared_agent: AgentProcess,
) -> None:
    answer = shared_agent.post_schedule(PING, {})
    if answer.status == 200:
        assert shared_agent.info(answer.json["id"])["action"]["args"] == {}
    else:
        assert_invalid_args(answer, "count")


def test_scheduled_action_can_be_read_at_once(shared_agent: AgentProcess) -> None:
    for _ in range(20):
        assert shared_agent.get_info(shared_agent.schedule(FAIL, {})).status == 200


@pytest.mark.parametrize(("kind", "args", "field"), REFUSED_ARGS)
def test_arguments_that_the_kind_does_not_accept_are_refused(
    shared_agent: AgentProcess, kind: str, args: Any, field: str
) -> None:
    assert_invalid_args(shared_agent.post_schedule(kind, args), field)


@pytest.mark.parametrize("args", [[], [1], ["count"], 1, 0, 1.5, "text", "", True, False, None])
@pytest.mark.parametrize("kind", [PING, LOOP])
def test_kind_with_an_object_refuses_other_types(shared_agent: AgentProcess, kind: str, args: Any) -> None:
    assert_invalid_args(shared_agent.post_schedule(kind, args))


def test_a_refused_schedule_leaves_no_trace(agent: AgentProcess) -> None:
    agent.post_schedule(PING, {"count": "many"})
    agent.post_schedule("no.such.kind", {})
    post_body(agent, PING, b"not json")
    assert (agent.queue(), agent.finished()) == ([], [])


def test_a_body_in_chunks_is_accepted(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(f"{PREFIX}/schedule/{PING}", body=iter([b'{"count"', b": 2}"]))
    assert_json(answer)
    assert shared_agent.info(answer.json["id"])["action"]["args"] == {"count": 2}


def test_a_dot_of_the_kind_may_be_percent_encoded(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, SUCCESS.replace(".", "%2e"), b"{}")
    assert_json(answer)
    assert shared_agent.info(answer.json["id"])["action"]["kind"] == SUCCESS


def test_actions_scheduled_concurrently_are_all_stored(busy_agent: AgentProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        scheduled = list(pool.map(lambda _: busy_agent.schedule(SUCCESS, {}), range(40)))
    queued = [item["id"] for item in busy_agent.queue()]
    assert len(set(scheduled)) == 40
    assert set(scheduled) <= set(queued)


def test_full_queue_refuses_with_retry_after(start_agent: StartAgent) -> None:
    agent = start_agent(config=SMALL_QUEUE)
    agent.occupy()
    accepted = fill(agent)
    answer = agent.post_schedule(SUCCESS, {})
    assert_error(answer, 429, "QueueFull")
    assert int(answer.headers["Retry-After"]) > 0
    assert [item["id"] for item in agent.queue()][1:] == accepted


def test_a_queue_that_was_full_accepts_again_when_there_is_room(start_agent: StartAgent) -> None:
    agent = start_agent(config=SMALL_QUEUE)
    running = agent.occupy()
    accepted = fill(agent)
    agent.cancel(running)
    eventually(lambda: agent.queue() == [], "the queue is empty")
    assert agent.state(accepted[-1]) == "DONE"
    agent.schedule(SUCCESS, {})


def fill(agent: AgentProcess) -> list[str]:
    """Schedule behind the running action until the queue of three is full; returns the accepted actions."""
    accepted = []
    while (answer := agent.post_schedule(SUCCESS, {})).status == 200:
        accepted.append(answer.json["id"])
        assert len(accepted) <= 3
    assert len(accepted) >= 2
    return accepted
