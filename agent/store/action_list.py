"""Pages of actions, newest first, without their arguments; and tags that change when a list changes."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.models import Json, Outcome, State
from agent.store import Store
from agent.store.actions import LAST
from agent.store.encoding import dumps, loads
from agent.store.rows import row_as

NEWEST_CHANGE = """
    SELECT (SELECT max(id) FROM events) AS event,
           (SELECT min(finished_order) FROM actions WHERE finished_order IS NOT NULL) AS oldest_finished,
           (SELECT version FROM actions WHERE state = 'RUNNING') AS running
"""
NEWEST_END = """
    SELECT (SELECT max(finished_order) FROM actions WHERE finished_order IS NOT NULL) AS newest,
           (SELECT min(finished_order) FROM actions WHERE finished_order IS NOT NULL) AS oldest
"""
# Rows that the filter excludes are read too: only sequence number, time and reference have an index.
PAGE = """
    SELECT actions.seq, actions.id, kind, state, outcome, user, requester, reason, finished_message, scheduled_ts,
           created_ts, finished_ts, not_before, not_after, needs_approval, approved_by, core_requester,
           resources.type AS resource_type, resources.name AS resource_name,
           CASE WHEN state = 'RUNNING' THEN state_payload END AS running_payload,
           (SELECT timestamp FROM history WHERE action_seq = actions.seq AND version = 2 AND history.state = 'RUNNING')
               AS started_ts
    FROM actions JOIN resources ON resources.id = resource_id
    WHERE actions.seq < :before AND actions.seq > :after
      AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
      AND (:kind IS NULL OR kind GLOB :kind)
      AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))
      AND (:user IS NULL OR user = :user)
      AND (:resource_type IS NULL OR resources.type = :resource_type)
      AND (:resource_name IS NULL OR resources.name = :resource_name)
      AND (:since IS NULL OR scheduled_ts >= :since)
      AND (:until IS NULL OR scheduled_ts < :until)
    ORDER BY actions.seq DESC LIMIT :limit
"""
PENDING_PAGE = PAGE.replace("WHERE actions.seq", "WHERE actions.finished_ts IS NULL AND actions.seq")
QUEUE_PAGE = PENDING_PAGE.replace("ORDER BY actions.seq DESC", "ORDER BY state = 'RUNNING' DESC, actions.seq")
RUNNING = "SELECT id FROM actions WHERE state = 'RUNNING'"
# Triggers keep the outcomes, also of actions that were pruned.
KINDS = """
    SELECT kind FROM outcomes UNION SELECT kind FROM actions WHERE finished_ts IS NULL ORDER BY kind
"""
PENDING = "SELECT count(*) FROM actions WHERE finished_ts IS NULL"
WAITING_BEFORE = """
    SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW' AND seq >= :from AND seq < :to
"""


@dataclass(frozen=True)
class Filter:
    """Conditions on actions; None: any. Times are microseconds since the epoch, `kind` is a glob, `kinds` are names.

    `before`, `after`: only actions with a smaller, or larger, sequence number.
    """

    states: tuple[State, ...] | None = None
    kind: str | None = None
    kinds: tuple[str, ...] | None = None
    user: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None
    since: int | None = None
    until: int | None = None
    before: int = LAST
    after: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """An action in a list. `position`: how many actions start before it, plus one; None unless it waits."""

    seq: int
    id: str
    kind: str
    state: State
    outcome: Outcome | None
    user: str
    requester: str
    reason: str | None
    message: str | None
    progress: Json
    created_ts: int
    scheduled_ts: int
    started_ts: int | None
    finished_ts: int | None
    not_before: int | None
    not_after: int | None
    needs_approval: bool
    approved_by: str | None
    core_requester: str | None
    resource_type: str
    resource_name: str
    position: int | None


def tag(store: Store) -> str:
    """A text that changes with every state, progress and removal of an action; three index look-ups."""
    event, oldest_finished, running = store.read(NEWEST_CHANGE)[0]
    return f"{event}.{oldest_finished or 0}.{running or 0}"


def finished_tag(store: Store) -> str:
    """A text that changes only when an action ends or is pruned; two index look-ups."""
    newest, oldest = store.read(NEWEST_END)[0]
    return f"{newest or 0}.{oldest or 0}"


def running(store: Store) -> str | None:
    """The id of the running action; one index look-up."""
    rows = store.read(RUNNING)
    return str(rows[0]["id"]) if rows else None


def kinds(store: Store) -> list[str]:
    """The kinds of all actions, also some kinds of pruned ones; reads no final action."""
    return [row["kind"] for row in store.read(KINDS)]


def page(store: Store, wanted: Filter, limit: int) -> list[Item]:
    """The newest `limit` actions that match the filter, newest first."""
    pending = wanted.states is not None and not any(state.final for state in wanted.states)
    with store.snapshot() as connection:
        rows = connection.execute(PENDING_PAGE if pending else PAGE, _parameters(wanted, limit)).fetchall()
        positions = _positions(connection, rows[::-1])
    return [_item(row, positions.get(row["seq"])) for row in rows]


def queue(store: Store, limit: int) -> tuple[list[Item], int]:
    """The running and waiting actions in the order of execution, at most `limit`; and the number of all of them."""
    with store.snapshot() as connection:
        rows = connection.execute(QUEUE_PAGE, _parameters(Filter(), limit)).fetchall()
        positions = _positions(connection, sorted(rows, key=lambda row: int(row["seq"])))
        count: int = connection.execute(PENDING).fetchone()[0]
    return [_item(row, positions.get(row["seq"])) for row in rows], count


def _parameters(wanted: Filter, limit: int) -> dict[str, Any]:
    return {
        "states": None if wanted.states is None else _array(wanted.states),
        "kind": wanted.kind,
        "kinds": None if wanted.kinds is None else dumps(wanted.kinds),
        "user": wanted.user,
        "resource_type": wanted.resource_type,
        "resource_name": wanted.resource_name,
        "since": wanted.since,
        "until": wanted.until,
        "before": wanted.before,
        "after": wanted.after,
        "limit": limit,
    }


def _positions(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> dict[int, int]:
    """The position of each waiting row by its sequence number; `rows` are in the order of these."""
    positions: dict[int, int] = {}
    last, waiting = 0, 0
    for row in rows:
        if row["state"] == State.NEW:
            span = {"from": last, "to": row["seq"]}
            waiting += connection.execute(WAITING_BEFORE, span).fetchone()[0]
            positions[row["seq"]] = waiting + 1
            last = row["seq"]
    return positions


def _item(row: Any, position: int | None) -> Item:
    running = loads(row["running_payload"])
    shown = running if isinstance(running, dict) else {}
    message = row["finished_message"] if row["finished_ts"] is not None else shown.get("message")
    return row_as(
        Item,
        row,
        message=message if isinstance(message, str) else None,
        progress=_progress(shown),
        position=position,
    )


def _progress(payload: dict[str, Json]) -> Json:
    """The phase or stage of a running action, with its measurement if there is one; None without any."""
    measured = payload.get("progress")
    place = {name: payload[name] for name in ("stage", "phase", "phases") if name in payload}
    return place | (measured if isinstance(measured, dict) else {}) or None


def _array(states: tuple[State, ...]) -> str:
    return "[" + ",".join(f'"{state}"' for state in states) + "]"
