"""Where requests become actions: those that come at the same moment share one statement, and with it one fsync."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from agent import clock, log
from agent.errors import IdempotencyKeyReused, QueueFull, StoreUnavailable
from agent.models import Accepted, Request
from agent.store import Store, idempotency
from agent.store.actions import dumps
from agent.store.idempotency import Fingerprints
from agent.store.key_limit import KeyLimit
from agent.store.resources import Resources
from agent.store.together import Together

COLUMNS = (
    "id, kind, args, secrets, headers, requester, user, user_reference, resource_id, idempotency_key, created_ts, "
    "scheduled_ts, state_ts, state, fingerprint, reason, not_before, not_after, size"
)

WAITING_BYTES = "SELECT bytes FROM waiting"
SIZE = -1
"""Where a row has its bytes of arguments, secrets and headers."""

QUEUE_BYTES = 64 * 1024 * 1024
"""Bytes that may wait, unless `actions.queue_bytes` says otherwise."""
RESERVED, RESERVED_BYTES = 10, 64 * 1024
"""Places and bytes beyond the limits of the queue for what may end a hold."""

Row = tuple[Any, ...]
Asked = tuple[Request, int, bytes | None]
"""A request, the id of the resource that it is about, and its fingerprint where it has an idempotency key."""


@cache
def insert(count: int) -> str:
    """The statement that inserts so many rows, all or none, if the queue has room for them.

    After the values come the bytes of the rows, how many bytes may wait, and twice how many actions may wait before.
    As the queue is executed in order the span of its seqs is hardly more than its length: the count, which takes
    longer the more wait, is only taken where the span leaves doubt.
    """
    row = f"({', '.join('?' * len(COLUMNS.split(', ')))})"
    return f"""
        INSERT INTO actions ({COLUMNS})
        SELECT * FROM (VALUES {", ".join([row] * count)})
        WHERE (SELECT bytes FROM waiting) + ? <= ?
          AND ((SELECT max(seq) FROM actions)
               - (SELECT seq FROM actions WHERE finished_ts IS NULL ORDER BY seq LIMIT 1) < ?
            OR (SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW') <= ?)
    """


class Intake:
    """Writes requests down, for callers on many threads."""

    def __init__(self, store: Store, queue_limit: int, queue_bytes: int = QUEUE_BYTES) -> None:
        self._store = store
        self._queue_limit = queue_limit
        self._queue_bytes = queue_bytes
        self._resources = Resources(store)
        self._fingerprints = Fingerprints(store.path)
        self._keys = KeyLimit(store)
        self._schedule: Together[Asked, Accepted] = Together(self._schedule_all, _tell)

    def schedule(self, request: Request) -> Accepted:
        """The action of a request, which is on disk when this returns.

        Raises `QueueFull`, `StoreUnavailable`, and `IdempotencyKeyReused` where the key came before with
        something else; a key that came before with the same gives the id of then, also where that action was pruned.
        """
        try:
            fingerprint = self._fingerprints.of(request)
        except OSError as error:
            raise StoreUnavailable(
                "the key of the fingerprints cannot be read or written", layers=[str(error)]
            ) from error
        if fingerprint is not None and (reason := self._keys.reason(idempotency.owner(request))):
            return self._scheduled_before(request, fingerprint, reason)
        accepted = self._schedule((request, self._resources.id_of(request.resource), fingerprint))
        if fingerprint is not None and not accepted.replayed:
            self._keys.added(idempotency.owner(request))
        return accepted

    def _scheduled_before(self, request: Request, fingerprint: bytes, reason: str) -> Accepted:
        """The action of a key that came before. Raises `QueueFull` for `reason` where the key is new."""
        with self._store.snapshot() as connection:
            before = idempotency.find(connection, request, fingerprint)
        if before is None:
            raise QueueFull(f"{reason}: call without a key, or later")
        return Accepted(before, replayed=True)

    def _schedule_all(self, requests: Sequence[Asked]) -> Sequence[Accepted | Exception]:
        ids = new_ids(len(requests))
        rows = [_row(action_id, *asked) for action_id, asked in zip(ids, requests, strict=True)]
        room = self._queue_limit - len(rows)
        values = [value for row in rows for value in row]

        # One statement that is a transaction by itself: all rows or none. Where it is none, by a key that came
        # before, for want of room or by a text that no file can hold, each is looked at by itself.
        with suppress(sqlite3.IntegrityError, UnicodeEncodeError):
            size = sum(row[SIZE] for row in rows)
            if self._store.write_one(insert(len(rows)), (*values, size, self._queue_bytes, room, room)):
                return [Accepted(action_id) for action_id in ids]
        asked_rows = list(zip(requests, rows, strict=True))
        return self._store.write(lambda connection: [self._insert(connection, *each) for each in asked_rows])

    def _insert(self, connection: sqlite3.Connection, asked: Asked, row: Row) -> Accepted | Exception:
        """The action that a row became or was already, or why it is none."""
        request, _, fingerprint = asked
        room = self._queue_limit + RESERVED * request.ends_hold - 1
        room_bytes = self._queue_bytes + RESERVED_BYTES * request.ends_hold
        try:
            if before := idempotency.find(connection, request, fingerprint):
                return Accepted(before, replayed=True)
            if connection.execute(insert(1), (*row, row[SIZE], room_bytes, room, room)).rowcount:
                return Accepted(row[0])
        except (IdempotencyKeyReused, UnicodeEncodeError) as error:
            return error
        waiting: int = connection.execute(WAITING_BYTES).fetchone()[0]
        if waiting + row[SIZE] > room_bytes:
            return QueueFull(f"{waiting} bytes are waiting already: actions.queue_bytes allows {self._queue_bytes}")
        return QueueFull(f"{self._queue_limit} actions are waiting already, as many as actions.queue_limit allows")


def _tell(requests: Sequence[Asked], results: Sequence[Accepted | BaseException]) -> None:
    """When nobody waits for it any more: a line in the log lets go of the GIL, and who does gets in line for it."""
    both = zip(requests, results, strict=True)
    log.scheduled(
        [(it.action_id, request) for (request, *_), it in both if isinstance(it, Accepted) and not it.replayed]
    )


def new_ids(count: int) -> list[str]:
    """Random UUIDs; the randomness comes by one call for all, as each lets go of the GIL."""
    digits = os.urandom(16 * count).hex()
    return [_uuid4(digits[start : start + 32]) for start in range(0, len(digits), 32)]


def _uuid4(digits: str) -> str:
    """32 random hexadecimal digits with the version and the variant of a random UUID (RFC 4122) in their places."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _row(action_id: str, request: Request, resource_id: int, fingerprint: bytes | None) -> Row:
    now = clock.now()
    args, secrets = dumps(request.args), dumps(request.secrets) if request.secrets else None
    headers = dumps(request.headers)
    return (
        action_id,
        request.kind,
        args,
        secrets,
        headers,
        request.requester,
        request.user,
        request.user_reference,
        resource_id,
        request.idempotency_key,
        request.created_ts,
        now,
        now,
        "NEW",
        fingerprint,
        request.reason,
        request.not_before,
        request.not_after,
        len(args) + len(secrets or "") + len(headers),
    )
