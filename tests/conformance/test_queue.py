"""GET queue: running and waiting actions in the order of execution."""

from __future__ import annotations

from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.conformance.shapes import LOOP, PING, SUCCESS, assert_item, assert_json, ids, seed


def test_new_agent_has_an_empty_queue(agent: AgentProcess) -> None:
    answer = agent.get(f"{PREFIX}/queue")
    assert_json(answer)
    assert answer.json == []


def test_the_queue_reads_as_in_the_seed(agent: AgentProcess) -> None:
    running = agent.occupy()
    waiting = [agent.schedule(SUCCESS, {}) for _ in range(2)]
    queue = agent.queue()
    assert [set(item) for item in queue] == [set(item) for item in seed("queue")]
    assert [item["state"] for item in queue] == [item["state"] for item in seed("queue")]
    assert ids(queue) == [running, *waiting]
    assert [item["kind"] for item in queue] == [LOOP, SUCCESS, SUCCESS]


def test_only_the_first_action_of_the_queue_may_run(agent: AgentProcess) -> None:
    last = [agent.schedule(PING, {"count": 5}) for _ in range(20)][-1]
    while agent.state(last) == "NEW":
        queue = agent.queue()
        for item in queue:
            assert_item(item, ("NEW", "RUNNING"))
        assert "RUNNING" not in [item["state"] for item in queue[1:]]


def test_an_action_that_has_left_the_queue_is_finished(agent: AgentProcess) -> None:
    scheduled = [agent.schedule(PING, {"count": 3}) for _ in range(20)]
    queued = set(scheduled)
    while queued:
        queued = set(ids(agent.queue()))
        assert queued | set(ids(agent.finished())) == set(scheduled)


def test_an_agent_on_a_unix_socket_answers_the_same(start_agent: StartAgent) -> None:
    agent = start_agent(unix=True)
    action_id = agent.schedule(SUCCESS, {})
    agent.await_final(action_id)
    assert (agent.queue(), ids(agent.finished())) == ([], [action_id])
