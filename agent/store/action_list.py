"""Pages of actions, newest first, without their arguments; and a tag that changes with what lists show."""

from dataclasses import dataclass
from typing import Any

from agent.models import Json, Outcome, State
from agent.store import Store
from agent.store.actions import LAST, loads

NEWEST_CHANGE = """
    SELECT (SELECT max(id) FROM events) AS event,
           (SELECT min(finished_order) FROM actions WHERE finished_order IS NOT NULL) AS oldest_finished,
           (SELECT version FROM actions WHERE state = 'RUNNING') AS running
"""
# What a filter leaves out is read over: an index serves only the place, the time and the reference of an action.
PAGE = """
    SELECT actions.seq, actions.id, kind, state, outcome, user, requester, reason, finished_message, scheduled_ts,
           created_ts, finished_ts, not_before, resources.type AS resource_type, resources.name AS resource_name,
           CASE WHEN state = 'RUNNING' THEN state_payload END AS running_payload,
           (SELECT timestamp FROM history WHERE action_seq = actions.seq AND version = 2 AND history.state = 'RUNNING')
               AS started_ts
    FROM actions JOIN resources ON resources.id = resource_id
    WHERE actions.seq < :before
      AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
      AND (:kind IS NULL OR kind GLOB :kind)
      AND (:user IS NULL OR user = :user)
      AND (:resource_type IS NULL OR resources.type = :resource_type)
      AND (:resource_name IS NULL OR resources.name = :resource_name)
      AND (:since IS NULL OR scheduled_ts >= :since)
      AND (:until IS NULL OR scheduled_ts < :until)
    ORDER BY actions.seq DESC LIMIT :limit
"""
PENDING_PAGE = PAGE.replace("WHERE actions.seq", "WHERE actions.finished_ts IS NULL AND actions.seq")
WAITING_BEFORE = """
    SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW' AND seq >= :from AND seq < :to
"""


@dataclass(frozen=True)
class Filter:
    """Which actions are wanted; None: any. Times are microseconds since the epoch, `kind` is a glob.

    `before`: only actions that were scheduled before the one of this place.
    """

    states: tuple[State, ...] | None = None
    kind: str | None = None
    user: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None
    since: int | None = None
    until: int | None = None
    before: int = LAST


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
    resource_type: str
    resource_name: str
    position: int | None


def tag(store: Store) -> str:
    """Another text after each change of an action's state, progress or retention; three index look-ups."""
    event, oldest_finished, running = store.read(NEWEST_CHANGE)[0]
    return f"{event}.{oldest_finished or 0}.{running or 0}"


def page(store: Store, wanted: Filter, limit: int) -> list[Item]:
    """The newest `limit` actions that the filter wants, newest first."""
    pending = wanted.states is not None and not any(state.final for state in wanted.states)
    parameters = {
        "states": None if wanted.states is None else _array(wanted.states),
        "kind": wanted.kind,
        "user": wanted.user,
        "resource_type": wanted.resource_type,
        "resource_name": wanted.resource_name,
        "since": wanted.since,
        "until": wanted.until,
        "before": wanted.before,
        "limit": limit,
    }
    with store.snapshot() as connection:
        rows = connection.execute(PENDING_PAGE if pending else PAGE, parameters).fetchall()
        positions: dict[int, int] = {}
        place, counted = 0, 0
        for row in reversed(rows):
            if row["state"] == State.NEW:
                span = {"from": place, "to": row["seq"]}
                counted += connection.execute(WAITING_BEFORE, span).fetchone()[0]
                positions[row["seq"]] = counted + 1
                place = row["seq"]
    return [_item(row, positions.get(row["seq"])) for row in rows]


def _item(row: Any, position: int | None) -> Item:
    running = loads(row["running_payload"])
    shown = running if isinstance(running, dict) else {}
    message = row["finished_message"] if row["finished_ts"] is not None else shown.get("message")
    return Item(
        seq=row["seq"],
        id=row["id"],
        kind=row["kind"],
        state=State(row["state"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        user=row["user"],
        requester=row["requester"],
        reason=row["reason"],
        message=message if isinstance(message, str) else None,
        progress=_progress(shown),
        created_ts=row["created_ts"],
        scheduled_ts=row["scheduled_ts"],
        started_ts=row["started_ts"],
        finished_ts=row["finished_ts"],
        not_before=row["not_before"],
        resource_type=row["resource_type"],
        resource_name=row["resource_name"],
        position=position,
    )


def _progress(payload: dict[str, Json]) -> Json:
    """The phase or stage of a running action, with the measurement of it if there is one; None where neither is."""
    measured = payload.get("progress")
    place = {name: payload[name] for name in ("stage", "phase", "phases") if name in payload}
    return place | (measured if isinstance(measured, dict) else {}) or None


def _array(states: tuple[State, ...]) -> str:
    return "[" + ",".join(f'"{state}"' for state in states) + "]"
