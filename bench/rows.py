"""Reads the agent's database beside the running agent."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import SUCCESS

SECOND = 1_000_000  # timestamps in the database are microseconds


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection, closed at the end."""
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def successes(connection: sqlite3.Connection) -> int:
    """The number of test actions scheduled so far."""
    query = "SELECT count(*) FROM actions WHERE kind = ?"
    return int(connection.execute(query, (SUCCESS,)).fetchone()[0])


def unfinished(connection: sqlite3.Connection) -> int:
    """The number of queued and running actions."""
    query = "SELECT count(*) FROM actions WHERE finished_ts IS NULL"
    return int(connection.execute(query).fetchone()[0])


def ids(connection: sqlite3.Connection) -> set[str]:
    """Every action's id."""
    return {str(row[0]) for row in connection.execute("SELECT id FROM actions")}


def reached(connection: sqlite3.Connection, action_id: str, state: str) -> float:
    """The time when an action first reached a state, in seconds since the epoch."""
    query = """
        SELECT min(history.timestamp) FROM history JOIN actions ON actions.seq = history.action_seq
        WHERE actions.id = ? AND history.state = ?
    """
    return float(connection.execute(query, (action_id, state)).fetchone()[0]) / SECOND


def seconds_of_finishing(connection: sqlite3.Connection) -> float:
    """Seconds between the ends of the first and the last test action."""
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
