"""Idempotency-Key: a repeated call schedules once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.agent_process import PREFIX, AgentProcess, Response, StartAgent, eventually
from tests.conformance.shapes import (
    FAIL,
    LOOP,
    PING,
    SUCCESS,
    assert_error,
    assert_json,
    ids,
    post_body,
)

PRUNED_OFTEN = "[actions]\nprune_interval = 1\nprune_keep = 1\n"


@pytest.fixture
def key() -> dict[str, str]:
    """A header with an unused key."""
    return {"Idempotency-Key": str(uuid4())}


def test_the_same_key_gives_the_same_id_and_schedules_nothing(busy_agent: AgentProcess, key: dict[str, str]) -> None:
    first = busy_agent.schedule(SUCCESS, {}, headers=key)
    queued = ids(busy_agent.queue())
    again = busy_agent.post_schedule(SUCCESS, {}, headers=key)
    assert_json(again)
    assert again.json == {"id": first}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert ids(busy_agent.queue()) == queued


def test_the_header_may_be_spelled_in_any_case(busy_agent: AgentProcess, key: dict[str, str]) -> None:
    first = busy_agent.schedule(SUCCESS, {}, headers=key)
    spelled = {"IDEMPOTENCY-KEY": key["Idempotency-Key"]}
    assert busy_agent.schedule(SUCCESS, {}, headers=spelled) == first


def test_equal_arguments_in_another_form_are_the_same_request(busy_agent: AgentProcess, key: dict[str, str]) -> None:
    one = post_body(busy_agent, LOOP, b'{"target":1,"delay":0}', headers=key)
    two = post_body(busy_agent, LOOP, b'{ "delay": 0,\n "t\\u0061rget": 1 }', headers=key)
    assert_json(two)
    assert two.json == one.json


@pytest.mark.parametrize(
    ("one", "other"),
    [("{}", '"{}"'), ('"{}"', ' "{}" '), ("{} a", '"{} a"'), ('{}"a', '"{}\\"a"'), ("{}\\", '"{}\\\\"')],
)
def test_plain_key_equals_its_rfc_8941_string(
    busy_agent: AgentProcess, key: dict[str, str], one: str, other: str
) -> None:
    first = busy_agent.post_schedule(SUCCESS, {}, headers={"Idempotency-Key": one.format(key["Idempotency-Key"])})
    assert "Idempotent-Replayed" not in first.headers
    again = busy_agent.post_schedule(SUCCESS, {}, headers={"Idempotency-Key": other.format(key["Idempotency-Key"])})
    assert (again.json, again.headers["Idempotent-Replayed"]) == (first.json, "true")


@pytest.mark.parametrize("wrong", ['"', '"a', '"a"b', '"a\\b"', '""', '"\u00e9"', "", " ", "x" * 256])
def test_invalid_key_is_refused(busy_agent: AgentProcess, wrong: str) -> None:
    answer = busy_agent.post_schedule(SUCCESS, {}, headers={"Idempotency-Key": wrong})
    assert_error(answer, 400, "InvalidHeader")


def test_every_call_without_a_key_schedules(busy_agent: AgentProcess) -> None:
    assert busy_agent.schedule(SUCCESS, {}) != busy_agent.schedule(SUCCESS, {})


def test_other_key_schedules_another_action(busy_agent: AgentProcess, key: dict[str, str]) -> None:
    first = busy_agent.schedule(SUCCESS, {}, headers=key)
    other = {"Idempotency-Key": key["Idempotency-Key"] + "-2"}
    assert busy_agent.schedule(SUCCESS, {}, headers=other) != first


@pytest.mark.parametrize(("kind", "args"), [(PING, {"count": 2}), (FAIL, {})])
def test_key_reused_for_another_request_is_refused(
    busy_agent: AgentProcess, key: dict[str, str], kind: str, args: Any
) -> None:
    busy_agent.schedule(PING, {"count": 1}, headers=key)
    queued = busy_agent.queue()
    answer = busy_agent.post_schedule(kind, args, headers=key)
    assert_error(answer, 409, "IdempotencyKeyReused")
    assert busy_agent.queue() == queued


def test_a_refused_call_uses_up_no_key(busy_agent: AgentProcess, key: dict[str, str]) -> None:
    assert busy_agent.post_schedule(PING, {"count": "x"}, headers=key).status == 400
    assert_json(busy_agent.post_schedule(PING, {"count": 1}, headers=key))


def test_the_key_of_a_finished_action_is_remembered(agent: AgentProcess, key: dict[str, str]) -> None:
    first = agent.schedule(FAIL, {}, headers=key)
    agent.await_final(first)
    assert agent.schedule(FAIL, {}, headers=key) == first
    assert (agent.queue(), ids(agent.finished())) == ([], [first])


def test_a_key_is_remembered_over_a_restart(agent: AgentProcess, key: dict[str, str]) -> None:
    first = agent.schedule(SUCCESS, {}, headers=key)
    agent.stop()
    agent.start()
    assert agent.schedule(SUCCESS, {}, headers=key) == first


def test_a_key_outlives_its_action(start_agent: StartAgent, key: dict[str, str]) -> None:
    agent = start_agent(config=PRUNED_OFTEN)
    first = agent.schedule(SUCCESS, {}, headers=key)
    agent.schedule(SUCCESS, {})
    eventually(lambda: agent.get_info(first).status == 404, "the first action is pruned")
    again = agent.post_schedule(SUCCESS, {}, headers=key)
    assert (again.json, again.headers["Idempotent-Replayed"]) == ({"id": first}, "true")
    assert_error(agent.post_schedule(FAIL, {}, headers=key), 409, "IdempotencyKeyReused")
    command = agent.post("/api/3/stacks/default/actions", json={"command": SUCCESS}, headers=key)
    assert (command.status, command.json["variant"]) == (409, "ActionPruned")
    assert first in command.json["error"]


def test_known_key_is_answered_although_the_queue_is_full(start_agent: StartAgent, key: dict[str, str]) -> None:
    agent = start_agent(config="[actions]\nqueue_limit = 3\n")
    agent.occupy()
    first = agent.schedule(SUCCESS, {}, headers=key)
    eventually(lambda: agent.post_schedule(SUCCESS, {}).status == 429, "the queue is full")
    assert agent.schedule(SUCCESS, {}, headers=key) == first


def test_eight_equal_concurrent_calls_with_one_key_give_one_action(
    busy_agent: AgentProcess, key: dict[str, str]
) -> None:
    before = len(busy_agent.queue())
    answers = at_once(busy_agent, key, [{"count": 1}] * 8)
    assert [answer.status for answer in answers] == [200] * 8
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(busy_agent.queue()) == before + 1


def test_one_of_eight_different_concurrent_calls_with_one_key_is_accepted(
    busy_agent: AgentProcess, key: dict[str, str]
) -> None:
    before = len(busy_agent.queue())
    answers = at_once(busy_agent, key, [{"count": count} for count in range(1, 9)])
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert len(busy_agent.queue()) == before + 1


def at_once(agent: AgentProcess, key: dict[str, str], args: list[Any]) -> list[Response]:
    """The answers to concurrent schedule calls, each on an open connection."""
    connections = [agent.connect() for _ in args]
    for connection in connections:
        agent.get(f"{PREFIX}/queue", connection=connection)
    with ThreadPoolExecutor(len(args)) as pool:
        calls = [
            pool.submit(agent.post_schedule, PING, each, headers=key, connection=connection)
            for each, connection in zip(args, connections, strict=True)
        ]
        answers = [call.result() for call in calls]
    for connection in connections:
        connection.close()
    return answers
