"""Only the SQL statements of an execution: the rate that SQLite alone reaches on this disk."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

# They set the same columns as the agent's statements, to fixed values.
FINISH = """
    UPDATE actions
    SET state = 'DONE', state_payload = NULL, state_ts = :now, version = version + 1,
        finished_ts = :now, secrets = NULL, finished_message = 'done', finished_order = :order
    WHERE seq = :seq
"""
CLAIM = """
    UPDATE actions
    SET state = 'RUNNING', state_ts = :now, version = version + 1,
        running_boot = 'boot', running_since = 0.0
    WHERE seq = :seq
"""
HISTORY = """
    INSERT INTO history (action_seq, version, timestamp, state, state_payload)
    SELECT seq, version, state_ts, state, state_payload FROM actions WHERE seq = :seq
"""


class BareQueue:
    """A copy of an agent's database without triggers: the loop writes the history itself."""

    def __init__(self, database: Path) -> None:
        self.connection = sqlite3.connect(database, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in self.connection.execute(query).fetchall():
            self.connection.execute(f'DROP TRIGGER "{name}"')
        query = "SELECT seq FROM actions WHERE state IN ('NEW', 'RUNNING') ORDER BY seq"
        self.pending = [row[0] for row in self.connection.execute(query)]
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drain(self) -> float:
        """Finish all but the last action, each commit also claiming the next one; returns actions per second."""
        start = time.perf_counter()
        for order, (running, following) in enumerate(pairwise(self.pending)):
            self._commit(order, running, following)
        return (len(self.pending) - 1) / (time.perf_counter() - start)

    def _commit(self, order: int, running: int, following: int) -> None:
        execute, now = self.connection.execute, time.time_ns() // 1000
        execute("BEGIN IMMEDIATE")
        execute(FINISH, {"seq": running, "now": now, "order": order})
        execute(HISTORY, {"seq": running})
        execute(CLAIM, {"seq": following, "now": now})
        execute(HISTORY, {"seq": following})
        execute("COMMIT")


def drained_per_second(database: Path) -> float:
    """Actions per second that the bare loop executes on this copy of an agent's database."""
    queue = BareQueue(database)
    with closing(queue.connection):
        return queue.drain()
