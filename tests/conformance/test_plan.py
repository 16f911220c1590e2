"""POST plan: the effect that an action would have now; nothing is stored or changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agent import plan
from agent.api.time_limit import BoundedQueries, NotAnswered
from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.conformance.shapes import PING, assert_error, assert_json

MEMBERS = {
    "kind", "would", "summary", "steps", "discards", "needs", "warnings", "refusal", "facts",
}  # fmt: skip


def post_plan(agent: AgentProcess, kind: str, args: Any) -> Any:
    return agent.post(f"{PREFIX}/plan/{kind}", json=args)


def test_a_plan_has_the_members_of_the_protocol(shared_agent: AgentProcess) -> None:
    answer = post_plan(shared_agent, PING, {"count": 2})
    assert_json(answer)
    assert answer.status == 200 and set(answer.json) == MEMBERS
    assert answer.json["kind"] == PING
    assert answer.json["refusal"] is None


def test_a_plan_stores_nothing(agent: AgentProcess) -> None:
    assert post_plan(agent, PING, {"count": 2}).status == 200
    assert agent.queue() == agent.finished() == []


def test_arguments_and_kinds_are_checked_as_by_schedule(shared_agent: AgentProcess) -> None:
    for kind, args in ((PING, {"count": "two"}), (PING, {"cuont": 2}), ("no.such", {})):
        planned, scheduled = post_plan(shared_agent, kind, args), shared_agent.post_schedule(kind, args)
        assert planned.status == scheduled.status
        assert planned.json == scheduled.json
        assert_error(planned, planned.status, planned.json["variant"])


def test_a_plan_hides_the_secrets_of_its_arguments(start_agent: StartAgent) -> None:
    agent = start_agent(config='agent = {kinds = ["tests.conformance.planning"]}\n')
    answer = post_plan(agent, "tests.planning", {"password": "correct horse"})
    assert answer.json["would"] == "change"
    assert answer.json["summary"] == "would use ********"
    assert "horse" not in answer.body.decode() + agent.whole_log()


def test_a_plan_that_raises_is_a_refusal(start_agent: StartAgent) -> None:
    agent = start_agent(config='agent = {kinds = ["tests.conformance.planning"]}\n')
    answer = post_plan(agent, "tests.planning", {"password": "correct horse", "raises": True})
    assert answer.status == 200
    assert answer.json["would"] == "refuse" and answer.json["refusal"]["reason"] == "the plan failed"


@pytest.fixture
def held() -> Iterator[threading.Event]:
    released = threading.Event()
    yield released
    released.set()


def test_hanging_query_times_out_and_occupies_one_place(held: threading.Event) -> None:
    bounded = BoundedQueries(seconds=0.01, places=2)
    for _ in range(2):
        with pytest.raises(NotAnswered, match="no answer within"):
            bounded.ask(held.wait)
    with pytest.raises(NotAnswered, match="earlier queries"):
        bounded.ask(lambda: 1)
    held.set()


def test_result_and_exception_of_a_query_reach_the_caller() -> None:
    bounded = BoundedQueries(seconds=5)
    assert bounded.ask(lambda: 1) == 1
    with pytest.raises(TimeoutError, match="of the question"):
        bounded.ask(_times_out)


def _times_out() -> None:
    raise TimeoutError("of the question")


def test_needs_contain_only_known_members() -> None:
    assert plan.Needs(disk_bytes=0, privileges=["REPLICATION"]).as_json() == {
        "disk_bytes": 0,
        "privileges": ["REPLICATION"],
    }
