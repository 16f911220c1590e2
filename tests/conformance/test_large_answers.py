"""Large answers are complete and are never held in the agent's memory as a whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import IncompleteRead
from typing import Any

import pytest

from tests.agent_process import AgentProcess
from tests.chaos.test_many_clients import proportional_kilobytes
from tests.conformance.shapes import LOOP, assert_history_of
from tests.kinds.configuring import toml

ACTIONS = "/api/3/stacks/default/actions"
KIND = "external.any"
CONFIG = toml({"external_actions": {"any": {"action": ["true"], "check": ["true"]}}})
ROWS = 30
TEXT = "x" * 1_000_000


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with a queue of 30 MB behind an action that never ends."""
    agent = AgentProcess(tmp_path_factory.mktemp("full"), config=CONFIG).start()
    agent.occupy()
    for number in range(ROWS):
        agent.schedule(KIND, {"number": number, "text": TEXT})
    yield agent
    agent.close()


def page(agent: AgentProcess) -> Any:
    answer = agent.get(f"{ACTIONS}?per_page=100", timeout=60)
    assert answer.status == 200, answer
    return answer.json


def test_page_takes_the_memory_of_two_rows(full: AgentProcess) -> None:
    [worker] = full.workers()
    page(full)
    before = proportional_kilobytes(worker)
    with ThreadPoolExecutor(4) as callers:
        sizes = list(callers.map(lambda _: len(full.get(f"{ACTIONS}?per_page=100", timeout=60).body), range(8)))
    grown = proportional_kilobytes(worker) - before
    assert min(sizes) > ROWS * len(TEXT)
    assert before < 60_000, before  # without the bodies of answered requests
    assert grown < 40_000, grown


def test_large_page_is_complete(full: AgentProcess) -> None:
    large = page(full)
    assert list(large) == ["response", "count", "pagination"]
    assert large["count"] == len(large["response"]) == ROWS + 1
    assert [each["id"] for each in large["response"]] == list(range(1, ROWS + 2))
    assert [each["metadata"] for each in large["response"][1:]] == [
        {"number": number, "text": TEXT} for number in range(ROWS)
    ]
    for each in large["response"][::10]:
        assert full.get(f"{ACTIONS}/{each['id']}").json["response"] == each


def test_small_page_has_a_content_length(full: AgentProcess) -> None:
    small = full.get(f"{ACTIONS}?per_page=1")
    assert int(small.headers["Content-Length"]) == len(small.body)
    assert small.body.endswith(b'"per_page":1,"count":31,"pages":31}}\n')


def test_a_connection_is_kept_after_a_large_page(full: AgentProcess) -> None:
    with closing(full.connect(60)) as connection:
        for _ in range(2):
            answer = full.get(f"{ACTIONS}?per_page=100", connection=connection)
            assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")


def test_a_head_request_builds_no_body(full: AgentProcess) -> None:
    answer = full.request("HEAD", f"{ACTIONS}?per_page=100")
    assert (answer.status, answer.body) == (200, b"")


def test_long_history_is_complete(agent: AgentProcess) -> None:
    info = agent.await_final(agent.schedule(LOOP, {"target": 700, "delay": 0}), timeout=60)
    assert len(json.dumps(info)) > 100_000
    assert_history_of(info["action"], info["history"])
    counts = [line["state_payload"]["count"] for line in info["history"][:-2]]
    assert counts == list(range(700, 0, -1))
    assert [line["state"] for line in info["history"][-2:]] == ["RUNNING", "NEW"]
    answer = agent.get_info(info["action"]["id"])
    assert "Content-Length" not in answer.headers, "it was in memory as a whole"
    again = agent.get_info(info["action"]["id"], headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_answer_with_an_error_while_streaming_breaks_off(full: AgentProcess) -> None:
    """The last of these tests: the row stays damaged."""
    with closing(sqlite3.connect(full.db, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE actions SET args = '{' WHERE seq = 20")
    with pytest.raises(IncompleteRead):
        page(full)
    answer = full.get(f"{ACTIONS}?per_page=1&page=20")
    assert (answer.status, answer.json["variant"]) == (500, "InternalError")
    assert "ERROR the answer to GET /api/3/stacks/<stack>/actions was truncated: JSONDecodeError at " in full.log_text()
    assert "Traceback" not in full.whole_log()
