"""Announces the reason of a hold, once for each reason: one commit adds the event and its callbacks."""

import sqlite3
from collections.abc import Sequence

from agent.models import Held
from agent.store import Store, audit_events
from agent.store.rows import row_as

WAITING = """
    SELECT seq, id, kind, user, requester, state, not_before, needs_approval, approved_by, announced_hold AS reason,
           x_request_id, traceparent
    FROM actions WHERE finished_ts IS NULL AND state = 'NEW' AND seq > ? ORDER BY seq
"""
ANNOUNCE = "UPDATE actions SET announced_hold = ? WHERE seq = ? AND state = 'NEW'"


def waiting(store: Store, after: int) -> list[Held]:
    """The waiting actions after the sequence number `after`, each with the reason that was announced last."""
    return [row_as(Held, row) for row in store.read(WAITING, (after,))]


def announce(store: Store, held: Sequence[Held]) -> list[Held]:
    """Add the event `action.held` for each action that still waits; returns these."""
    return store.write(lambda connection: [each for each in held if _announced(connection, each)])


def _announced(connection: sqlite3.Connection, action: Held) -> bool:
    if connection.execute(ANNOUNCE, (action.reason, action.seq)).rowcount == 0:
        return False
    origin = {"user": action.user, "requester": action.requester, "kind": action.kind, "action_id": action.id}
    audit_events.add(connection, "action.held", {"reason": action.reason}, **origin)
    return True
