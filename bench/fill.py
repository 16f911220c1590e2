"""Makes a database with the agent's schema and many finished actions, by SQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from agent.store import Store
from agent.store.audit_chain import chained
from bench.client import SUCCESS
from bench.figure import Bench

CHUNK = 50_000

# Each action takes the transitions that the schema's triggers permit, except RUNNING: only one action at a
# time may be in that state, so CLAIM writes that line of the history for the whole chunk.
INSERT = """
    WITH RECURSIVE numbers (n) AS (
        SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last
    )
    INSERT INTO actions (seq, id, kind, args, headers, requester, user, resource_id,
                         created_ts, scheduled_ts, state, state_ts)
    SELECT n, lower(printf('%s-%s-%s-%s-%s', hex(randomblob(4)), hex(randomblob(2)),
                           hex(randomblob(2)), hex(randomblob(2)), hex(randomblob(6)))),
           :kind, '{}', '{}', 'API', 'agent@bench', :resource, :now + n, :now + n, 'NEW', :now + n
    FROM numbers
"""
CLAIM = """
    INSERT INTO history (action_seq, version, timestamp, state)
    SELECT seq, 2, state_ts + 1, 'RUNNING' FROM actions WHERE seq BETWEEN :first AND :last
"""
FINISH = """
    UPDATE actions
    SET state = 'DONE', version = 3, state_ts = state_ts + 2, finished_ts = state_ts + 2,
        finished_order = seq, finished_message = 'success', outcome = 'done'
    WHERE seq BETWEEN :first AND :last
"""


def filled_database(bench: Bench, count: int) -> Path:
    """A new database with `count` finished actions, three lines of history each."""
    path = bench.new_directory("filled") / "agent.db"
    with closing(Store(path)) as store:
        store.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_function("chained", 9, chained, deterministic=True)  # for the triggers of the audit trail
        resource = connection.execute("INSERT INTO resources (type, name) VALUES ('Server', 'bench')").lastrowid
        values = {"kind": SUCCESS, "resource": resource, "now": time.time_ns() // 1000 - count}
        for first in range(1, count + 1, CHUNK):
            last = min(first + CHUNK - 1, count)
            _fill(connection, values | {"first": first, "last": last})
    return path


def _fill(connection: sqlite3.Connection, values: Mapping[str, object]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in (INSERT, CLAIM, FINISH):
        connection.execute(statement, values)
    connection.execute("COMMIT")
