"""A million finished actions: pruning delays no schedule call and frees the space."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agent.store import Store
from tests.agent_process import AgentProcess, eventually

MILLION = 1_000_000
CALLS = 300
FACTOR, FLOOR = 3.0, 0.030
"""Limits of a call: a multiple of the longest one without a prune, or seconds on a busy machine."""
CONFIG = """
[actions]
prune_interval = {prune_interval}
prune_keep = {prune_keep}
prune_limit = 5000
queue_limit = 100000
"""
ACTIONS = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
    INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, created_ts, scheduled_ts,
                         state, state_ts, version, finished_ts, finished_order, finished_message)
    SELECT printf('%08d-0000-4000-8000-000000000000', n), 'replicante.test.success', '{}', '{}', 'API', 'a@b', 1,
           n, n, 'DONE', n, 3, n, n, 'success'
    FROM numbers
"""
HISTORY = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count),
         lines (version, state) AS (VALUES (1, 'NEW'), (2, 'RUNNING'), (3, 'DONE'))
    INSERT INTO history (action_seq, version, timestamp, state) SELECT n, version, n, state FROM numbers, lines
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The folder of an agent with a million finished actions."""
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
        with without_triggers(connection):
            connection.execute(ACTIONS, {"count": MILLION})
            connection.execute(HISTORY, {"count": MILLION})
        connection.execute("COMMIT")
    return tmp_path


@contextmanager
def without_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    """Without triggers, which would take minutes for a million rows."""
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


def longest_call(agent: AgentProcess) -> float:
    """Seconds of the second longest of many schedule calls in a row."""
    connection = agent.connect()
    try:
        taken = sorted(timed(agent, connection) for _ in range(CALLS))
    finally:
        connection.close()
    return taken[-2]


def timed(agent: AgentProcess, connection: object) -> float:
    begin = time.perf_counter()
    agent.schedule("replicante.test.success", {}, connection=connection)
    return time.perf_counter() - begin


def agent_in(directory: Path, **options: int) -> AgentProcess:
    return AgentProcess(directory, config=CONFIG.format(**options))


def test_a_prune_among_a_million_holds_up_no_call_and_gives_space_back(directory: Path) -> None:
    size = (directory / "agent.db").stat().st_size
    calm = agent_in(directory, prune_interval=3600, prune_keep=MILLION).start()
    try:
        calm.occupy()
        longest_call(calm)
        without = longest_call(calm)
    finally:
        calm.close()
    pruning = agent_in(directory, prune_interval=1, prune_keep=MILLION - 50_000).start()
    try:
        eventually(lambda: "removed" in pruning.log_text(), "it has begun to prune", 20)
        # A real delay appears in each round; a busy machine does not delay every one.
        beside = min(longest_call(pruning) for _ in range(3))
        print(f"the longest schedule call took {without * 1000:.1f} ms without and {beside * 1000:.1f} ms with a prune")
        eventually(lambda: kept(directory / "agent.db") <= MILLION - 50_000, "all that is too old is gone", 60)
    finally:
        pruning.close()
    assert beside < max(FACTOR * without, FLOOR)
    assert kept(directory / "agent.db") == MILLION - 50_000
    assert (directory / "agent.db").stat().st_size < 0.97 * size


def kept(db: Path) -> int:
    with closing(sqlite3.connect(db)) as connection:
        return int(connection.execute("SELECT count(*) FROM actions WHERE finished_ts IS NOT NULL").fetchone()[0])
