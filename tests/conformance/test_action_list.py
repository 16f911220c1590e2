"""`GET /list`: complete rows of all actions, newest first, with filters and pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import FAIL, LOOP, SUCCESS, assert_error, moment

LIST = f"{PREFIX}/list"
MEMBERS = {
    "id", "async_action_id", "kind", "state", "outcome", "user", "requester", "reason", "message", "progress",
    "created_ts", "scheduled_ts", "started_ts", "finished_ts", "held", "not_before", "not_after", "approved_by",
    "position", "resource",
}  # fmt: skip


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with finished, running and waiting actions of several users, the oldest first in `ids`."""
    started = AgentProcess(tmp_path_factory.mktemp("list")).start()
    started.schedule(SUCCESS, {}, headers={"From": "ann@example.com", "Action-Reason": "ticket 7"})
    started.await_final(started.schedule(FAIL, {}, headers={"From": "bob@example.com"}))
    started.occupy()
    for user in ("ann@example.com", "bob@example.com"):
        started.schedule(SUCCESS, {}, headers={"From": user})
    yield started
    started.close()


def listed(agent: AgentProcess, **query: object) -> list[dict[str, Any]]:
    answer = agent.get(f"{LIST}?{urlencode(query)}")
    assert answer.status == 200, answer
    items: list[dict[str, Any]] = answer.json["items"]
    return items


def test_items_are_complete_and_newest_first(agent: AgentProcess) -> None:
    items = listed(agent)
    assert all(set(item) == MEMBERS for item in items)
    assert [item["async_action_id"] for item in items] == [5, 4, 3, 2, 1]
    assert [item["state"] for item in items] == ["NEW", "NEW", "RUNNING", "FAILED", "DONE"]
    assert [item["outcome"] for item in items] == [None, None, None, "failed", "done"]
    assert [item["position"] for item in items] == [2, 1, None, None, None]
    assert [item["reason"] for item in items] == [None, None, None, None, "ticket 7"]
    assert {item["resource"]["type"] for item in items} == {"Server"}


def test_an_item_agrees_with_info(agent: AgentProcess) -> None:
    for item in listed(agent):
        action = agent.info(item["id"])["action"]
        shared = MEMBERS & set(action)
        assert len(shared) >= 13
        assert {name: item[name] for name in shared if name != "held"} == {
            name: action[name] for name in shared if name != "held"
        }


def test_times_are_in_order(agent: AgentProcess) -> None:
    for item in listed(agent, state="DONE,FAILED"):
        times = [moment(item[name]) for name in ("created_ts", "scheduled_ts", "started_ts", "finished_ts")]
        assert times == sorted(times)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"state": "NEW"}, [5, 4]),
        ({"state": "NEW,RUNNING"}, [5, 4, 3]),
        ({"state": "FAILED"}, [2]),
        ({"kind": "*.success"}, [5, 4, 1]),
        ({"kind": LOOP}, [3]),
        ({"user": "bob@example.com"}, [5, 2]),
        ({"user": "ann@example.com", "state": "DONE"}, [1]),
        ({"resource": "Server"}, [5, 4, 3, 2, 1]),
        ({"resource": "Database/app"}, []),
        ({"since": "2100-01-01T00:00:00Z"}, []),
        ({"since": "2000-01-01T00:00:00Z", "until": "2100-01-01T00:00:00+02:00"}, [5, 4, 3, 2, 1]),
        ({"cursor": 3}, [2, 1]),
        ({"limit": 2}, [5, 4]),
    ],
)
def test_filter_selects_the_matching_actions(agent: AgentProcess, query: dict[str, object], numbers: list[int]) -> None:
    assert [item["async_action_id"] for item in listed(agent, **query)] == numbers


def test_position_counts_actions_that_the_filter_excludes(agent: AgentProcess) -> None:
    assert [item["position"] for item in listed(agent, user="bob@example.com", state="NEW")] == [2]


def test_pages_are_linked_by_the_header_link(agent: AgentProcess) -> None:
    address, numbers = f"{LIST}?limit=2&kind=replicante.*", []
    while address:
        answer = agent.get(address)
        numbers += [item["async_action_id"] for item in answer.json["items"]]
        link = answer.headers.get("Link", "")
        assert (answer.json["next"] is None) == (link == "")
        address = link.partition("<")[2].partition(">")[0]
    assert numbers == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "state=new", "state=", "since=yesterday", "since=2026-01-01", "cursor=-1",
     "sort=kind", "state=NEW&state=DONE", f"kind={'k' * 256}"],
)  # fmt: skip
def test_invalid_filter_is_refused(agent: AgentProcess, query: str) -> None:
    assert_error(agent.get(f"{LIST}?{query}"), 400, "InvalidQuery")
