"""The audit trail. An event is added in the transaction of the change that it records, by a trigger or by `add`."""

import json
import sqlite3

from agent import clock
from agent.clock import rfc3339
from agent.models import Json
from agent.store import Store

PIECE = 500
"""Events read at once, or removed by one commit."""

ADD = """
    INSERT INTO new_events (timestamp, event, user, requester, kind, action_id, details)
    VALUES (:timestamp, :event, :user, :requester, :kind, :action_id, :details)
"""
AFTER = """
    SELECT id, timestamp, event, user, requester, kind, action_id, details, previous, hash FROM events
    WHERE id > ? ORDER BY id LIMIT ?
"""
NEWEST = "SELECT max(id) FROM events"
BEFORE = "SELECT ifnull(min(id) - 1, (SELECT max(id) FROM events)) FROM events WHERE timestamp >= ?"
# A prefix of the trail: up to the first event that is young enough, and never the newest event.
PRUNE = """
    DELETE FROM events
    WHERE id < max(
        ifnull((SELECT id FROM events WHERE timestamp >= :before ORDER BY id LIMIT 1), (SELECT max(id) FROM events)),
        (SELECT max(id) FROM events) - :rows + 1)
      AND id < (SELECT min(id) FROM events) + :limit
"""


def add(connection: sqlite3.Connection, event: str, details: dict[str, Json], **who: str | None) -> None:
    """Add an event inside a transaction; `who` may be `user`, `requester`, `kind` and `action_id`."""
    row = {"user": None, "requester": None, "kind": None, "action_id": None} | who
    connection.execute(ADD, row | {"timestamp": clock.now(), "event": event, "details": json.dumps(details)})


def after(store: Store, event_id: int, limit: int) -> list[dict[str, Json]]:
    """At most `limit` events after this id, oldest first, in their output form."""
    return [shown(row) for row in store.read(AFTER, (event_id, limit))]


def newest(store: Store) -> int:
    """The id of the newest event."""
    return int(store.read(NEWEST)[0][0])


def before(store: Store, timestamp: int) -> int:
    """The id of the last event before this time in microseconds."""
    return int(store.read(BEFORE, (timestamp,))[0][0])


def shown(row: sqlite3.Row) -> dict[str, Json]:
    """An event in its output form, from a row of `AFTER`."""
    return dict(row) | {"timestamp": rfc3339(row["timestamp"]), "details": json.loads(row["details"])}


def prune(store: Store, keep: float, rows: int) -> int:
    """Remove at most `PIECE` events older than `keep` seconds or beyond the newest `rows`; returns how many."""
    before = clock.now() - round(keep * 1_000_000)
    return store.write_one(PRUNE, {"before": before, "rows": rows, "limit": PIECE})
