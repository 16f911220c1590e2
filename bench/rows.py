"""What the agent's database file says, read beside the running agent."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import SUCCESS

SECOND = 1_000_000  # the file's timestamps are in microseconds


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, closed at the end."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def successes(connection: sqlite3.Connection) -> int:
    """How many test actions were ever scheduled."""
    query = "SELECT count(*) FROM actions WHERE kind = ?"
    return int(connection.execute(query, (SUCCESS,)).fetchone()[0])


def unfinished(connection: sqlite3.Connection) -> int:
    """How many actions are queued or running."""
    query = "SELECT count(*) FROM actions WHERE finished_ts IS NULL"
    return int(connection.execute(query).fetchone()[0])


def ids(connection: sqlite3.Connection) -> set[str]:
    """Every action's id."""
    return {str(row[0]) for row in connection.execute("SELECT id FROM actions")}


def reached(connection: sqlite3.Connection, action_id: str, state: str) -> float:
    """When an action first was in a state, in seconds since the epoch."""
    query = """
        SELECT min(history.timestamp) FROM history JOIN actions ON actions.seq = history.action_seq
        WHERE actions.id = ? AND history.state = ?
    """
    return float(connection.execute(query, (action_id, state)).fetchone()[0]) / SECOND


def seconds_of_finishing(connection: sqlite3.Connection) -> float:
    """The time from the first to the last test action's finish."""
    query = """
        SELECT max(history.timestamp) - min(history.timestamp)
        FROM history JOIN actions ON actions.seq = history.action_seq
        WHERE actions.kind = ? AND history.state = 'DONE'
    """
    return float(connection.execute(query, (SUCCESS,)).fetchone()[0]) / SECOND


def some_finished_ids(connection: sqlite3.Connection, count: int) -> list[str]:
    """Ids of finished actions, spread over the whole table."""
    query = "SELECT min(seq), max(seq) FROM actions WHERE finished_ts IS NOT NULL"
    first, last = connection.execute(query).fetchone()
    wanted = random.sample(range(first, last + 1), count)
    query = "SELECT id FROM actions WHERE seq = ? AND finished_ts IS NOT NULL"
    found = (connection.execute(query, (seq,)).fetchone() for seq in wanted)
    return [str(row[0]) for row in found if row]
