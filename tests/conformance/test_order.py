"""Actions run one at a time, strictly in the order of the answers to their schedule calls."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations

from tests.agent_process import FINAL, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import FAIL, LOOP, PING, SUCCESS, ids


@dataclass(frozen=True)
class Call:
    """A schedule call: the times of call and answer, and the answer."""

    sent: float
    answered: float
    action_id: str


def test_actions_run_in_the_order_of_their_scheduling(agent: AgentProcess) -> None:
    connection = agent.connect()
    kinds = [(SUCCESS, {}), (FAIL, {}), (PING, {"count": 2}), (LOOP, {"target": 1, "delay": 0})]
    scheduled = [agent.schedule(*each, connection=connection) for each in kinds * 8]
    connection.close()
    agent.await_final(scheduled[-1], timeout=20)
    assert ids(agent.finished()) == scheduled[::-1]


def test_next_action_starts_only_after_the_previous_is_final(agent: AgentProcess) -> None:
    before = agent.schedule(LOOP, {"target": 2, "delay": 1})
    following = agent.schedule(SUCCESS, {})
    state = "NEW"
    while state not in FINAL:
        state = agent.state(following)
        if state != "NEW":
            assert agent.state(before) in FINAL


def test_queue_is_in_the_order_of_the_answers_under_concurrency(
    agent: AgentProcess,
) -> None:
    agent.occupy()
    with ThreadPoolExecutor(8) as pool:
        lists = pool.map(lambda _: [timed_schedule(agent) for _ in range(6)], range(8))
        calls = [call for each in lists for call in each]
    place = {action_id: place for place, action_id in enumerate(ids(agent.queue()))}
    assert len(place) == 49
    for one, other in permutations(calls, 2):
        if one.answered < other.sent:
            assert place[one.action_id] < place[other.action_id]


def test_the_queue_is_executed_in_its_order(agent: AgentProcess) -> None:
    running = agent.occupy()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: agent.schedule(SUCCESS, {}), range(30)))
    queued = ids(agent.queue())
    agent.cancel(running)
    eventually(lambda: agent.queue() == [], "the queue is empty")
    assert ids(agent.finished()) == queued[::-1]


def test_order_survives_a_restart(agent: AgentProcess) -> None:
    running = agent.occupy()
    scheduled = [agent.schedule(SUCCESS, {}) for _ in range(10)]
    agent.stop()
    agent.start()
    agent.cancel(running)
    eventually(lambda: agent.queue() == [], "the queue is empty")
    assert [each for each in ids(agent.finished()) if each in scheduled] == scheduled[::-1]


def test_an_action_starts_as_soon_as_it_is_scheduled(start_agent: StartAgent) -> None:
    interval = 60  # an action that is not started at once waits for the next tick
    agent = start_agent(config=f"[actions]\nexecute_interval = {interval}\n")
    agent.await_final(agent.schedule(SUCCESS, {}))
    started = time.monotonic()
    for _ in range(10):
        agent.await_final(agent.schedule(SUCCESS, {}), timeout=interval)
    assert time.monotonic() - started < interval


def timed_schedule(agent: AgentProcess) -> Call:
    """One schedule call with its times."""
    sent = time.monotonic()
    action_id = agent.schedule(SUCCESS, {})
    return Call(sent, time.monotonic(), action_id)
