"""An agent that accepts any request, and the checks of its state afterwards."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import Any

from tests.agent_process import FINAL, PREFIX, AgentProcess, eventually
from tests.chaos.witnesses import whole

ANYTHING = "external.anything"
"""Accepts any JSON."""

# A loop may be scheduled for years: it is ended at once, and the queue continues.
CONFIG = """
[api]
max_body = 200000
[actions]
queue_limit = 100000
finished_limit = 50
prune_interval = 3600
timeouts = { "replicante.test.loop" = 0.05 }
[maintenance]
[caches.none]
kind = "folder"
path = "/nowhere/cache"
[external_actions.anything]
action = ["/bin/true"]
check = ["/bin/echo", '{"status": "finished"}']
"""

ROWS = "SELECT seq, id, args, headers, user, state, state_payload, version FROM actions ORDER BY seq"
HISTORY = "SELECT version, state, state_payload FROM history WHERE action_seq = ? ORDER BY version"


def assert_unharmed(agent: AgentProcess, timeout: float = 60.0) -> dict[str, int]:
    """Assert that it answers, logged no failure and stored complete rows; returns AsyncAction ids by id."""
    eventually(lambda: not may_start(agent), "everything is executed but what is held", timeout)
    for path in (f"{PREFIX}/finished", f"{PREFIX}/available", "/openapi.json", "/api/3/stacks/default/actions"):
        assert agent.get(path).status == 200, path
    assert_no_failure_logged(agent)
    assert whole(agent.db)
    with closing(sqlite3.connect(agent.db)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(ROWS).fetchall()
        for row in rows:
            assert_row(row, connection.execute(HISTORY, (row["seq"],)).fetchall())
    return {row["id"]: row["seq"] for row in rows}


def may_start(agent: AgentProcess) -> list[str]:
    """The running actions and those that may start; a fuzzer also sends a Not-Before in another millennium."""
    pending = agent.get(f"{PREFIX}/list?state=NEW,RUNNING&limit=500").json["items"]
    return [each["id"] for each in pending if each["held"] is None]


def assert_no_failure_logged(agent: AgentProcess) -> None:
    """Assert that the log has no traceback and no line of level ERROR."""
    log = agent.log_text()
    assert "Traceback" not in log
    assert not [line for line in log.splitlines() if line.startswith("ERROR") or "[ERROR]" in line]


def assert_row(row: sqlite3.Row, history: list[sqlite3.Row]) -> None:
    """Assert a complete action with a complete history."""
    json.loads(row["args"])
    headers: Any = json.loads(row["headers"])
    assert all(isinstance(value, str) for value in headers.values())
    assert row["user"]
    assert [line["version"] for line in history] == list(range(1, row["version"] + 1))
    assert (history[0]["state"], history[0]["state_payload"]) == ("NEW", None)
    assert (history[-1]["state"], history[-1]["state_payload"]) == (row["state"], row["state_payload"])
    assert all(earlier["state"] not in FINAL for earlier, _ in pairwise(history))
    for line in history:
        assert line["state_payload"] is None or json.loads(line["state_payload"]) is not ...
