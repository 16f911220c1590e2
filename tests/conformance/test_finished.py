"""GET finished: final actions, newest first."""

from __future__ import annotations

from tests.agent_process import FINAL, PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import (
    FAIL,
    PING,
    SUCCESS,
    assert_error,
    assert_item,
    assert_json,
    ids,
    seed,
)

PRUNED_OFTEN = "[actions]\nprune_interval = 1\nprune_keep = 2\n"


def test_new_agent_has_no_finished_actions(agent: AgentProcess) -> None:
    answer = agent.get(f"{PREFIX}/finished")
    assert_json(answer)
    assert answer.json == []


def test_an_item_has_the_members_of_the_seed(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(SUCCESS, {})
    shared_agent.await_final(action_id)
    newest = shared_agent.finished()[0]
    assert newest == {"kind": SUCCESS, "id": action_id, "state": "DONE"}
    assert set(newest) == set(seed("finished")[0])


def test_only_final_states_are_listed(shared_agent: AgentProcess) -> None:
    done, failed = shared_agent.schedule(SUCCESS, {}), shared_agent.schedule(FAIL, {})
    shared_agent.await_final(failed)
    items = shared_agent.finished()
    for item in items:
        assert_item(item, FINAL)
    states = {item["id"]: item["state"] for item in items}
    assert (states[done], states[failed]) == ("DONE", "FAILED")


def test_the_newest_is_first(agent: AgentProcess) -> None:
    scheduled = [agent.schedule(kind, {}) for kind in (SUCCESS, FAIL) * 10]
    agent.await_final(scheduled[-1])
    assert ids(agent.finished()) == scheduled[::-1]


def test_actions_are_ordered_by_their_end(busy_agent: AgentProcess) -> None:
    first, second, third = (busy_agent.schedule(SUCCESS, {}) for _ in range(3))
    for each in (third, first, second):
        busy_agent.cancel(each)
    assert ids(busy_agent.finished())[:3] == [second, first, third]


def test_a_finished_action_never_changes_again(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(PING, {"count": 2})
    shared_agent.await_final(action_id)
    before = shared_agent.get_info(action_id).body
    shared_agent.await_final(shared_agent.schedule(FAIL, {}))
    shared_agent.cancel(action_id)
    assert shared_agent.get_info(action_id).body == before


def test_pruning_keeps_the_newest_and_touches_nothing_queued_or_running(
    start_agent: StartAgent,
) -> None:
    agent = start_agent(config=PRUNED_OFTEN)
    scheduled = [agent.schedule(SUCCESS, {}) for _ in range(5)]
    running, waiting = agent.occupy(), agent.schedule(SUCCESS, {})
    eventually(lambda: len(agent.finished()) == 2, "only two finished actions are kept")
    assert ids(agent.finished()) == [scheduled[4], scheduled[3]]
    assert ids(agent.queue()) == [running, waiting]
    assert_error(agent.get_info(scheduled[0]), 404, "ActionNotFound")
