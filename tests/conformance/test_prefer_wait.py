"""Prefer: wait on info: the answer comes with the change, and waiting costs others nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.agent_process import PREFIX, AgentProcess, Response, StartAgent
from tests.conformance.shapes import LOOP, SUCCESS, assert_error, assert_info

CAP = 60
TWO_SECONDS = [
    "wait=2",
    "Wait=2",
    "wait = 2",
    "respond-async, wait=2",
    "wait=2; x=y",
    "wait=2, wait=30",
]


@dataclass(frozen=True)
class Timed:
    """An answer and the seconds that it took."""

    answer: Response
    seconds: float


@pytest.fixture(scope="module", autouse=True)
def longest(busy_agent: AgentProcess) -> Iterator[Future[Timed]]:
    """A wait that is as long as one can be, begun before the first test so that it is over with the last."""
    action_id = busy_agent.schedule(SUCCESS, {})
    with ThreadPoolExecutor(1) as waiter:
        yield waiter.submit(wait, busy_agent, action_id, "wait=3600", tag_of(busy_agent, action_id))


@pytest.fixture
def waiters() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def tag_of(agent: AgentProcess, action_id: str) -> str:
    return str(agent.get_info(action_id).headers["ETag"])


def wait(agent: AgentProcess, action_id: str, prefer: str, tag: str) -> Timed:
    """Ask for what differs from the tag, with this preference."""
    started = time.monotonic()
    headers = {"Prefer": prefer, "If-None-Match": tag}
    answer = agent.get_info(action_id, headers=headers, timeout=CAP + 30)
    return Timed(answer, time.monotonic() - started)


def is_waiting(call: Future[Timed]) -> bool:
    """It has not been answered, although there was time for it."""
    try:
        call.result(timeout=0.7)
    except TimeoutError:
        return True
    return False


def test_it_answers_at_the_change(busy_agent: AgentProcess, waiters: ThreadPoolExecutor) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = tag_of(busy_agent, action_id)
    call = waiters.submit(wait, busy_agent, action_id, "wait=20", tag)
    assert is_waiting(call)
    changed = time.monotonic()
    busy_agent.cancel(action_id)
    answer = call.result().answer
    assert time.monotonic() - changed < 3
    assert answer.status == 200
    assert_info(answer.json)
    assert answer.json["action"]["state"] == "FAILED"


def test_it_answers_at_a_new_payload(agent: AgentProcess) -> None:
    action_id = agent.schedule(LOOP, {"target": 3, "delay": 1})
    agent.await_state(action_id, "RUNNING")
    seen, states = tag_of(agent, action_id), []
    while "DONE" not in states:
        timed = wait(agent, action_id, "wait=10", seen)
        assert (timed.answer.status, timed.seconds < 6) == (200, True)
        seen = timed.answer.headers["ETag"]
        states.append(timed.answer.json["action"]["state"])
    assert "RUNNING" in states


def test_it_answers_at_once_what_has_changed_already(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, "wait=20", '"seen long ago"')
    assert (timed.answer.status, timed.seconds < 3) == (200, True)


def test_it_answers_at_once_what_is_final(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    shared_agent.await_final(action_id)
    timed = wait(shared_agent, action_id, "wait=20", tag_of(shared_agent, action_id))
    assert (timed.answer.status, timed.seconds < 3) == (304, True)


def test_an_unknown_action_is_not_waited_for(busy_agent: AgentProcess) -> None:
    timed = wait(busy_agent, "unknown", "wait=20", '"x"')
    assert_error(timed.answer, 404, "ActionNotFound")
    assert timed.seconds < 3


@pytest.mark.parametrize("prefer", TWO_SECONDS)
def test_it_answers_304_when_nothing_changes_in_time(busy_agent: AgentProcess, prefer: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, prefer, tag_of(busy_agent, action_id))
    assert (timed.answer.status, timed.answer.body) == (304, b"")
    assert 1.9 <= timed.seconds < 5


@pytest.mark.parametrize("form", ["W/{}", '"other", {}', '{},"other"'])
def test_what_was_seen_may_be_said_in_every_form_of_the_header(busy_agent: AgentProcess, form: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, "wait=1", form.format(tag_of(busy_agent, action_id)))
    assert timed.answer.status == 304
    assert timed.seconds >= 0.9


@pytest.mark.parametrize(
    "prefer",
    ["wait", "wait=", "wait=x", "wait=-5", "wait=1e3", "wait=0", "wait=5s", "waiting=5", ",;="],
)
def test_a_preference_that_says_no_time_is_ignored(busy_agent: AgentProcess, prefer: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, prefer, tag_of(busy_agent, action_id))
    assert (timed.answer.status, timed.seconds < 2) == (304, True)


@pytest.mark.parametrize("seconds", ["61", "3600", "9" * 30, "9" * 5000])
def test_a_long_wait_ends_with_the_change(busy_agent: AgentProcess, waiters: ThreadPoolExecutor, seconds: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = tag_of(busy_agent, action_id)
    call = waiters.submit(wait, busy_agent, action_id, f"wait={seconds}", tag)
    assert is_waiting(call)
    busy_agent.cancel(action_id)
    assert call.result().answer.status == 200


def test_when_half_of_the_threads_wait_the_next_is_answered_at_once(
    start_agent: StartAgent, waiters: ThreadPoolExecutor
) -> None:
    agent = start_agent(config="[api]\nthreads = 8\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    calls = [waiters.submit(wait, agent, action_id, "wait=5", tag) for _ in range(12)]
    done = [call.result() for call in calls]
    assert [timed.answer.status for timed in done] == [304] * 12
    assert len([timed for timed in done if timed.seconds > 4.5]) == 4
    assert len([timed for timed in done if timed.seconds < 3]) == 8


def test_other_calls_stay_fast_while_many_wait(start_agent: StartAgent, waiters: ThreadPoolExecutor) -> None:
    agent = start_agent(config="[api]\nthreads = 4\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    calls = [waiters.submit(wait, agent, action_id, "wait=30", tag) for _ in range(8)]
    while sum(call.done() for call in calls) < 6:
        assert agent.get(f"{PREFIX}/queue", timeout=3).status == 200
    for _ in range(20):
        agent.schedule(SUCCESS, {}, timeout=3)
    agent.cancel(action_id)
    assert sorted(call.result().answer.status for call in calls) == [200] * 2 + [304] * 6


def test_a_place_to_wait_is_free_again_after_the_wait(start_agent: StartAgent, waiters: ThreadPoolExecutor) -> None:
    agent = start_agent(config="[api]\nthreads = 2\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    for _ in range(3):
        assert wait(agent, action_id, "wait=1", tag).seconds >= 0.9


def test_a_wait_is_capped(longest: Future[Timed]) -> None:
    timed = longest.result(CAP + 30)
    assert timed.answer.status == 304
    assert CAP - 1 <= timed.seconds < CAP + 5
