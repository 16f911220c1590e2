"""Inserts actions into the queue. Concurrent requests share one commit, and so one fsync."""

import sqlite3
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from agent import clock, log
from agent.errors import ActionAlreadyExists, IdempotencyKeyReused, QueueFull, StoreUnavailable
from agent.models import Accepted, Request
from agent.store import Store, idempotency, resources
from agent.store.encoding import dumps
from agent.store.group_commit import GroupCommit
from agent.store.idempotency import Fingerprints
from agent.store.key_limit import KeyLimit
from agent.store.resources import Resources

COLUMNS = (
    "id, kind, args, secrets, headers, requester, user, user_reference, resource_id, idempotency_key, created_ts, "
    "scheduled_ts, state_ts, state, fingerprint, reason, not_before, not_after, needs_approval, core_requester, "
    "key_source, x_request_id, traceparent, size"
)

WAITING_BYTES = "SELECT bytes FROM waiting"

QUEUE_BYTES = 64 * 1024 * 1024
"""The default of `actions.queue_bytes`."""
RESERVED, RESERVED_BYTES = 10, 64 * 1024
"""Actions and bytes beyond the limits of the queue, for actions that may end a hold."""

Row = dict[str, Any]
"""A value for each column. `resource_id` is None for a new resource."""
PendingInsert = tuple[Request, int | None, bytes | None]
"""A request, the id of its resource if that is known, and its fingerprint if it has an idempotency key."""


# The queue is executed in order, so the span of its sequence numbers is hardly more than its length. Counting takes
# longer the longer the queue is: only a span above the limit needs it.
INSERT = f"""
    INSERT INTO actions ({COLUMNS})
    SELECT :{COLUMNS.replace(", ", ", :")}
    WHERE (SELECT bytes FROM waiting) + :size <= :most_bytes
      AND ((SELECT max(seq) FROM actions)
           - (SELECT seq FROM actions WHERE finished_ts IS NULL ORDER BY seq LIMIT 1) < :most
        OR (SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW') <= :most)
"""
"""Insert a row if the queue has room: for `size` more bytes, and with at most `most` actions waiting already."""


class Enqueuer:
    """Adds actions to the queue. Thread-safe: callers at the same moment share a commit."""

    def __init__(self, store: Store, queue_limit: int, queue_bytes: int = QUEUE_BYTES) -> None:
        self._store = store
        self._queue_limit = queue_limit
        self._queue_bytes = queue_bytes
        self._resources = Resources(store)
        self._fingerprints = Fingerprints(store.path)
        self._keys = KeyLimit(store)
        self._schedule: GroupCommit[PendingInsert, Accepted] = GroupCommit(self._schedule_all)

    def schedule(self, request: Request) -> Accepted:
        """Store the action of a request; it is on disk when this returns.

        A repeated request with the same key returns the id of the first action, even if that was pruned. Raises
        `IdempotencyKeyReused` for the key with another request, `ActionAlreadyExists` for a used id of the caller,
        even if that action was pruned; `QueueFull`, `StoreUnavailable`.
        """
        try:
            request, fingerprint = self._fingerprints.identified(request)
        except OSError as error:
            raise StoreUnavailable(
                "the key of the fingerprints cannot be read or written", layers=[str(error)]
            ) from error
        if fingerprint is not None and (reason := self._keys.reason(idempotency.owner(request))):
            return self._replayed(request, fingerprint, reason)
        accepted = self._schedule((request, self._resources.find(request.resource), fingerprint))
        if not accepted.replayed:
            log.scheduled(accepted.action_id, request)
            if fingerprint is not None:
                self._keys.added(idempotency.owner(request))
        return accepted

    def _replayed(self, request: Request, fingerprint: bytes, reason: str) -> Accepted:
        """The action of a known key. Raises `QueueFull` with `reason` for a new key."""
        with self._store.snapshot() as connection:
            before = idempotency.find(connection, request, fingerprint)
        if before is None:
            raise QueueFull(f"{reason}: call without an Idempotency-Key, or try again later")
        return Accepted(before, replayed=True)

    def _schedule_all(self, requests: Sequence[PendingInsert]) -> Sequence[Accepted | Exception]:
        rows = [_row(*pending) for pending in requests]
        return self._store.write(
            lambda connection: [self._insert(connection, *each) for each in zip(requests, rows, strict=True)]
        )

    def _insert(self, connection: sqlite3.Connection, pending: PendingInsert, row: Row) -> Accepted | Exception:
        """Insert a row, or find the action of its key; returns the error of a refused row, without a new resource."""
        if row["resource_id"] is not None:
            return self._try(connection, pending, row)
        connection.execute("SAVEPOINT one")
        result = self._try(connection, pending, row)
        if isinstance(result, Exception):
            connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return result

    def _try(self, connection: sqlite3.Connection, pending: PendingInsert, row: Row) -> Accepted | Exception:
        request, _, fingerprint = pending
        room = self._queue_limit + RESERVED * request.ends_hold - 1
        room_bytes = self._queue_bytes + RESERVED_BYTES * request.ends_hold
        try:
            if before := idempotency.find(connection, request, fingerprint):
                return Accepted(before, replayed=True)
            if row["resource_id"] is None:
                row["resource_id"] = resources.add(connection, request.resource)
            row["most_bytes"], row["most"] = room_bytes, room
            if connection.execute(INSERT, row).rowcount:
                return Accepted(row["id"])
        except (ActionAlreadyExists, IdempotencyKeyReused, UnicodeEncodeError) as error:
            return error
        waiting: int = connection.execute(WAITING_BYTES).fetchone()[0]
        if waiting + row["size"] > room_bytes:
            return QueueFull(f"{waiting} bytes are waiting already: actions.queue_bytes allows {self._queue_bytes}")
        return QueueFull(f"{self._queue_limit} actions are waiting already, as many as actions.queue_limit allows")


def _row(request: Request, resource_id: int | None, fingerprint: bytes | None) -> Row:
    now = clock.now()
    args, secrets = dumps(request.args), dumps(request.secrets) if request.secrets else None
    headers = dumps(request.headers)
    return {
        "id": request.action_id or str(uuid4()),
        "kind": request.kind,
        "args": args,
        "secrets": secrets,
        "headers": headers,
        "requester": request.requester,
        "user": request.user,
        "user_reference": request.user_reference,
        "resource_id": resource_id,
        "idempotency_key": request.idempotency_key,
        "created_ts": request.created_ts,
        "scheduled_ts": now,
        "state_ts": now,
        "state": "NEW",
        "fingerprint": fingerprint,
        "reason": request.reason,
        "not_before": request.not_before,
        "not_after": request.not_after,
        "needs_approval": int(request.needs_approval),
        "core_requester": request.core_requester,
        "key_source": None if request.idempotency_key is None else idempotency.owner(request).source,
        "x_request_id": request.x_request_id,
        "traceparent": request.traceparent,
        "size": len(args) + len(secrets or "") + len(headers),
    }
