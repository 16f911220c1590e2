"""Reads actions: the SQL statements by name, then the functions that run them."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import ActionNotFound
from agent.models import Action, State, Transition
from agent.store import Store
from agent.store.encoding import dumps, loads
from agent.store.rows import row_as

HISTORY_PIECE = 20
"""Lines of a history that are in memory at once."""

LAST = 2**63 - 1
"""Greater than or equal to every sequence number."""

LONGEST_NUMBER = 20
"""Digits: one more than the largest id has."""


@dataclass(frozen=True, slots=True)
class ActionStatus:
    """`version` grows with every change of state or payload; `not_before` is in microseconds since the epoch."""

    version: int
    state: State
    kind: str
    not_before: int | None
    needs_approval: bool
    approved_by: str | None


COLUMNS = (
    "seq, id, kind, args, headers, requester, state, state_payload, "
    "created_ts, scheduled_ts, finished_ts, user, version, outcome, finished_message, reason, not_before, not_after, "
    "needs_approval, approved_by, core_requester, x_request_id, traceparent"
)
FINISHED = """
    SELECT kind, id, state FROM actions WHERE finished_order IS NOT NULL
    ORDER BY finished_order DESC LIMIT ?
"""
QUEUE = "SELECT kind, id, state FROM actions WHERE finished_ts IS NULL ORDER BY state = 'RUNNING' DESC, seq"
ACTION = f"SELECT {COLUMNS} FROM actions"
HISTORY = """
    SELECT version, timestamp, state, state_payload FROM history WHERE action_seq = :seq AND version <= :version
    ORDER BY version DESC LIMIT :limit
"""
STATUS = "SELECT version, state, kind, not_before, needs_approval, approved_by FROM actions"
STARTED = "SELECT timestamp FROM history WHERE action_seq = ? AND version = 2 AND state = 'RUNNING'"
NEWEST = "SELECT ifnull(max(seq), 0) FROM actions"
UNKNOWN = "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM actions WHERE id = value)"

# The values of finished_order follow one another: both ends of its index give the number of final actions.
FINAL = """
    SELECT ifnull(max(finished_order) - (
        SELECT finished_order FROM actions WHERE finished_order IS NOT NULL ORDER BY finished_order LIMIT 1) + 1, 0)
    FROM (SELECT finished_order FROM actions WHERE finished_order IS NOT NULL ORDER BY finished_order DESC LIMIT 1)
"""


def newest(store: Store) -> int:
    """The sequence number of the newest action; 0 without any."""
    return int(store.read(NEWEST)[0][0])


def finished(store: Store, limit: int) -> list[dict[str, str]]:
    """Kind, id and state of the newest `limit` final actions, newest first."""
    return [dict(row) for row in store.read(FINISHED, (limit,))]


def queue(store: Store) -> list[dict[str, str]]:
    """Kind, id and state of the running and waiting actions, in the order of execution."""
    return [dict(row) for row in store.read(QUEUE)]


def by_id(store: Store, action_id: str) -> tuple[Action, int]:
    """An action by either of its ids, and its version. Raises `ActionNotFound`."""
    row = only(store.read(*by_either(ACTION, action_id)), action_id)
    return from_row(row), row["version"]


def status(store: Store, action_id: str) -> ActionStatus:
    """State and version of an action by either id, for long polls. Raises `ActionNotFound`."""
    return row_as(ActionStatus, only(store.read(*by_either(STATUS, action_id)), action_id))


def started(store: Store, action: Action) -> int | None:
    """When the action was claimed, in microseconds since the epoch; None if it was not."""
    rows = store.read(STARTED, (action.seq,))
    return rows[0]["timestamp"] if rows else None


def history(store: Store, action: Action, version: int) -> Iterator[Transition]:
    """The transitions of an action up to a version, newest first, read in pieces.

    `version`: of `action`, which has the newest payload in full. Raises `ActionNotFound` if it was pruned.
    """
    newest = version
    while version:
        rows = store.read(HISTORY, {"seq": action.seq, "version": version, "limit": HISTORY_PIECE})
        last = only(rows[-1:], action.id)
        for row in rows:
            payload = action.state_payload if row["version"] == newest else loads(row["state_payload"])
            yield row_as(Transition, row, state_payload=payload)
        version = last["version"] - 1


def unknown(store: Store, ids: Sequence[str]) -> list[str]:
    """The ids among these that no action has."""
    return [row[0] for row in store.read(UNKNOWN, (dumps(list(ids)),))]


def final(store: Store) -> int:
    """The number of final actions."""
    return int(store.read(FINAL)[0][0])


def read(connection: sqlite3.Connection, action_id: str) -> Action:
    """An action by either of its ids, inside a transaction. Raises `ActionNotFound`."""
    return from_row(only(connection.execute(*by_either(ACTION, action_id)).fetchall(), action_id))


def from_row(row: sqlite3.Row, state: State | None = None) -> Action:
    """The action of a row with the `COLUMNS`; `state` replaces the state of the row."""
    given: dict[str, Any] = {"message": row["finished_message"]} | ({"state": state} if state else {})
    return row_as(Action, row, **given)


def by_either(statement: str, action_id: str) -> tuple[str, tuple[str | int]]:
    """The statement for one action, by either of its ids, and its parameter; digits are the AsyncAction's id."""
    if action_id.isascii() and action_id.isdecimal():
        # SQLite has no larger integers.
        return f"{statement} WHERE actions.seq = ?", (min(int(action_id[:LONGEST_NUMBER]), LAST),)
    return f"{statement} WHERE actions.id = ?", (action_id,)


def only(rows: Sequence[sqlite3.Row], action_id: str) -> sqlite3.Row:
    """The row of this action. Raises `ActionNotFound` if there is none."""
    if not rows:
        raise ActionNotFound(f"no action has the id {action_id[:100]!r}")
    return rows[0]
