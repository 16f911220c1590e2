"""Prefer: wait on info: the answer comes with the change, and waiting delays no other call."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent_process import PREFIX, AgentProcess, Response, StartAgent, eventually
from tests.conformance.shapes import LOOP, SUCCESS, assert_error, assert_info

CAP = 60
"""Longest wait in seconds."""
AT_ONCE = CAP / 2
"""Seconds: a call with a wait of `CAP` that is answered sooner was not answered by its timeout."""
TWO_SECONDS = [
    "wait=2",
    "Wait=2",
    "wait = 2",
    "respond-async, wait=2",
    "wait=2; x=y",
    "wait=2, wait=60",
]


@dataclass(frozen=True)
class Timed:
    """An answer and its duration in seconds."""

    answer: Response
    seconds: float


@pytest.fixture(scope="module", autouse=True)
def longest(busy_agent: AgentProcess) -> Iterator[Future[Timed]]:
    """A wait of the greatest length, started before the first test so that it ends with the last."""
    action_id = busy_agent.schedule(SUCCESS, {})
    with ThreadPoolExecutor(1) as waiter:
        call = waiter.submit(wait, busy_agent, action_id, "wait=3600", tag_of(busy_agent, action_id))
        await_waiting(busy_agent, 1)
        yield call


@pytest.fixture
def waiters() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def tag_of(agent: AgentProcess, action_id: str) -> str:
    return str(agent.get_info(action_id).headers["ETag"])


def wait(agent: AgentProcess, action_id: str, prefer: str, tag: str) -> Timed:
    """Request a version that differs from the tag, with this preference."""
    started = time.monotonic()
    headers = {"Prefer": prefer, "If-None-Match": tag}
    answer = agent.get_info(action_id, headers=headers, timeout=CAP + 30)
    return Timed(answer, time.monotonic() - started)


def await_waiting(agent: AgentProcess, number: int) -> None:
    """Wait until this many requests wait in the agent."""
    expected = f"\nagent_requests_waiting {number:.1f}\n".encode()
    eventually(lambda: expected in agent.get("/metrics").body, f"{number} requests wait", CAP)


def test_a_long_poll_answers_at_the_change(busy_agent: AgentProcess, waiters: ThreadPoolExecutor) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = tag_of(busy_agent, action_id)
    call = waiters.submit(wait, busy_agent, action_id, "wait=60", tag)
    await_waiting(busy_agent, 2)
    changed = time.monotonic()
    busy_agent.cancel(action_id)
    answer = call.result().answer
    assert time.monotonic() - changed < AT_ONCE
    assert answer.status == 200
    assert_info(answer.json)
    assert answer.json["action"]["state"] == "FAILED"


def test_a_long_poll_answers_at_a_new_payload(agent: AgentProcess) -> None:
    action_id = agent.schedule(LOOP, {"target": 3, "delay": 1})
    agent.await_state(action_id, "RUNNING")
    seen, states = tag_of(agent, action_id), []
    while "DONE" not in states:
        timed = wait(agent, action_id, "wait=60", seen)
        assert (timed.answer.status, timed.seconds < AT_ONCE) == (200, True)
        seen = timed.answer.headers["ETag"]
        states.append(timed.answer.json["action"]["state"])
    assert "RUNNING" in states


def test_a_long_poll_answers_a_past_change_at_once(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, "wait=60", '"seen long ago"')
    assert (timed.answer.status, timed.seconds < AT_ONCE) == (200, True)


def test_a_long_poll_answers_a_final_action_at_once(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    shared_agent.await_final(action_id)
    timed = wait(shared_agent, action_id, "wait=60", tag_of(shared_agent, action_id))
    assert (timed.answer.status, timed.seconds < AT_ONCE) == (304, True)


def test_unknown_action_is_answered_without_a_wait(busy_agent: AgentProcess) -> None:
    timed = wait(busy_agent, "unknown", "wait=60", '"x"')
    assert_error(timed.answer, 404, "ActionNotFound")
    assert timed.seconds < AT_ONCE


@pytest.mark.parametrize("prefer", TWO_SECONDS)
def test_a_long_poll_answers_304_without_a_change_in_time(busy_agent: AgentProcess, prefer: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, prefer, tag_of(busy_agent, action_id))
    assert (timed.answer.status, timed.answer.body) == (304, b"")
    assert 1.9 <= timed.seconds < AT_ONCE


@pytest.mark.parametrize("form", ["W/{}", '"other", {}', '{},"other"'])
def test_every_form_of_if_none_match_is_accepted(busy_agent: AgentProcess, form: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, "wait=1", form.format(tag_of(busy_agent, action_id)))
    assert timed.answer.status == 304
    assert timed.seconds >= 0.9


@pytest.mark.parametrize(
    "prefer",
    ["wait", "wait=", "wait=x", "wait=-60", "wait=1e3", "wait=0", "wait=60s", "waiting=60", ",;="],
)
def test_preference_without_a_valid_time_is_ignored(busy_agent: AgentProcess, prefer: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    timed = wait(busy_agent, action_id, prefer, tag_of(busy_agent, action_id))
    assert (timed.answer.status, timed.seconds < AT_ONCE) == (304, True)


@pytest.mark.parametrize("seconds", ["61", "3600", "9" * 30, "9" * 5000])
def test_a_long_wait_ends_with_the_change(busy_agent: AgentProcess, waiters: ThreadPoolExecutor, seconds: str) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    tag = tag_of(busy_agent, action_id)
    call = waiters.submit(wait, busy_agent, action_id, f"wait={seconds}", tag)
    await_waiting(busy_agent, 2)
    busy_agent.cancel(action_id)
    assert call.result().answer.status == 200


def test_more_long_polls_than_threads_are_served(start_agent: StartAgent, waiters: ThreadPoolExecutor) -> None:
    agent = start_agent(config="[api]\nthreads = 2\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    calls = [waiters.submit(wait, agent, action_id, "wait=5", tag) for _ in range(12)]
    done = [call.result() for call in calls]
    assert [timed.answer.status for timed in done] == [304] * 12
    assert min(timed.seconds for timed in done) > 4.5


def test_other_calls_are_fast_during_many_long_polls(start_agent: StartAgent, waiters: ThreadPoolExecutor) -> None:
    agent = start_agent(config="[api]\nthreads = 4\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    calls = [waiters.submit(wait, agent, action_id, "wait=60", tag) for _ in range(8)]
    await_waiting(agent, 8)
    for _ in range(20):
        assert agent.get(f"{PREFIX}/queue").status == 200
        agent.schedule(SUCCESS, {})
    await_waiting(agent, 8)
    agent.cancel(action_id)
    assert [call.result().answer.status for call in calls] == [200] * 8


def sockets(pid: int) -> int:
    """The number of open sockets of a process."""
    found = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(each.readlink()).startswith("socket:")
    return found


def test_closed_long_poll_occupies_no_connection(start_agent: StartAgent) -> None:
    agent = start_agent(config="[api]\nthreads = 2\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    headers = {"Prefer": "wait=60", "If-None-Match": tag_of(agent, action_id)}
    [worker] = agent.workers()
    before = sockets(worker)
    callers = [agent.connect() for _ in range(20)]
    for caller in callers:
        caller.request("GET", f"{PREFIX}/info/{action_id}", headers=headers)
    eventually(lambda: sockets(worker) > len(callers), "all are connected")  # plus the listener
    for caller in callers:
        caller.close()
    eventually(lambda: sockets(worker) <= before, "all were noticed to have gone")


def test_request_pipelined_behind_a_long_poll_is_answered_after_it(agent: AgentProcess) -> None:
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    head = f"GET {PREFIX}/info/{action_id} HTTP/1.1\r\nHost: localhost\r\n"
    waiting = f"{head}Prefer: wait=60\r\nIf-None-Match: {tag_of(agent, action_id)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", agent.port), timeout=CAP) as caller:
        caller.sendall(waiting.encode())
        await_waiting(agent, 1)
        caller.sendall(f"{head}Connection: close\r\n\r\n".encode())
        agent.cancel(action_id)
        answers = b"".join(iter(lambda: caller.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 2 and answers.count(b'"state":"FAILED"') >= 2


def test_a_waiting_request_is_answered_when_the_agent_stops(
    start_agent: StartAgent, waiters: ThreadPoolExecutor
) -> None:
    agent = start_agent()
    action_id = agent.occupy()
    agent.await_state(action_id, "RUNNING")
    held = agent.schedule(SUCCESS, {})
    call = waiters.submit(wait, agent, held, "wait=60", tag_of(agent, held))
    await_waiting(agent, 1)
    agent.stop()
    assert call.result().answer.status == 304


def test_place_of_a_long_poll_is_free_after_the_wait(start_agent: StartAgent, waiters: ThreadPoolExecutor) -> None:
    agent = start_agent(config="[api]\nthreads = 2\n")
    agent.occupy()
    action_id = agent.schedule(SUCCESS, {})
    tag = tag_of(agent, action_id)
    for _ in range(3):
        assert wait(agent, action_id, "wait=1", tag).seconds >= 0.9


def test_wait_time_is_capped(longest: Future[Timed]) -> None:
    timed = longest.result(CAP + 30)
    assert timed.answer.status == 304
    assert timed.seconds >= CAP - 1
