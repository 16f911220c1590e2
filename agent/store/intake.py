"""Where requests become actions: those that come at the same moment share one statement, and with it one fsync."""

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from agent import clock, log
from agent.errors import HookReplayed, IdempotencyKeyReused, QueueFull
from agent.models import Request
from agent.store import Store, deliveries
from agent.store.actions import dumps, loads
from agent.store.resources import Resources
from agent.store.together import Together

COLUMNS = (
    "id, kind, args, secrets, headers, requester, user, user_reference, resource_id, idempotency_key, created_ts, "
    "scheduled_ts, state_ts, state"
)
BY_KEY = "SELECT id, kind, args, secrets, finished_ts FROM actions WHERE idempotency_key = ?"

RESERVED = 10
"""Places beyond the limit of the queue for what may end a hold."""

Row = tuple[Any, ...]
Asked = tuple[Request, int]
"""A request, and the id of the resource that it is about."""
Accepted = tuple[str, bool]
"""The id of an action, and whether it is new."""


@cache
def insert(count: int) -> str:
    """The statement that inserts so many rows, all or none, if the queue has room for them.

    After the values comes twice how many may wait before. As the queue is executed in order the span
    of its seqs is hardly more than its length: the count, which takes longer the more wait, is
    only taken where the span leaves doubt.
    """
    row = f"({', '.join('?' * len(COLUMNS.split(', ')))})"
    return f"""
        INSERT INTO actions ({COLUMNS})
        SELECT * FROM (VALUES {", ".join([row] * count)})
        WHERE (SELECT max(seq) FROM actions)
              - (SELECT seq FROM actions WHERE finished_ts IS NULL ORDER BY seq LIMIT 1) < ?
           OR (SELECT count(*) FROM actions WHERE finished_ts IS NULL AND state = 'NEW') <= ?
    """


INSERT_ONE = f"{insert(1)} ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"


class Intake:
    """Writes requests down, for callers on many threads."""

    def __init__(self, store: Store, queue_limit: int) -> None:
        self._store = store
        self._queue_limit = queue_limit
        self._resources = Resources(store)
        self._schedule: Together[Asked, Accepted] = Together(self._schedule_all, _tell)

    def schedule(self, request: Request) -> str:
        """The id of the action, which is on disk when this returns.

        Raises `QueueFull`, `StoreUnavailable`, and `IdempotencyKeyReused` where the key came before with
        something else; a key that came before with the same gives the id of then. `HookReplayed` is raised
        for a delivery whose action of then is gone.
        """
        return self._schedule((request, self._resources.id_of(request.resource)))[0]

    def _schedule_all(self, requests: Sequence[Asked]) -> Sequence[Accepted | Exception]:
        ids = new_ids(len(requests))
        rows = [_row(action_id, *request) for action_id, request in zip(ids, requests, strict=True)]
        limits = [self._queue_limit + RESERVED * request.ends_hold for request, _ in requests]
        written = zip(ids, self._write(ids, rows, limits), strict=True)
        return [(result, result == new_id) if isinstance(result, str) else result for new_id, result in written]

    def _write(self, ids: Sequence[str], rows: Sequence[Row], limits: Sequence[int]) -> Sequence[str | Exception]:
        room = self._queue_limit - len(rows)
        values = [value for row in rows for value in row]

        # One statement that is a transaction by itself: all rows or none. Where it is none, by a key that came
        # before, for want of room or by a text that no file can hold, each is looked at by itself.
        with suppress(sqlite3.IntegrityError, UnicodeEncodeError):
            if self._store.write_one(insert(len(rows)), (*values, room, room)):
                return ids
        limited = list(zip(rows, limits, strict=True))
        return self._store.write(lambda connection: [self._insert(connection, *each) for each in limited])

    def _insert(self, connection: sqlite3.Connection, row: Row, limit: int) -> str | Exception:
        """The id of the action that a row became or was already, or why it is none."""
        action_id: str = row[0]
        room = limit - 1
        named = dict(zip(COLUMNS.split(", "), row, strict=True))
        try:
            if connection.execute(INSERT_ONE, (*row, room, room)).rowcount:
                return action_id
        except UnicodeEncodeError as error:
            return error
        except sqlite3.IntegrityError:
            if (before := deliveries.find(connection, named["idempotency_key"])) is None:
                raise
            return HookReplayed(f"this was delivered before, as the action {before}, which is not kept any more")
        if same_key := connection.execute(BY_KEY, (named["idempotency_key"],)).fetchone():
            return _same_as_before(same_key, named)
        return QueueFull(f"{self._queue_limit} actions are waiting already, as many as actions.queue_limit allows")


def _tell(requests: Sequence[Asked], results: Sequence[Accepted | BaseException]) -> None:
    """When nobody waits for it any more: a line in the log lets go of the GIL, and who does gets in line for it."""
    told = zip(requests, results, strict=True)
    log.scheduled([(result[0], request) for (request, _), result in told if isinstance(result, tuple) and result[1]])


def new_ids(count: int) -> list[str]:
    """Random UUIDs; the randomness comes by one call for all, as each lets go of the GIL."""
    digits = os.urandom(16 * count).hex()
    return [_uuid4(digits[start : start + 32]) for start in range(0, len(digits), 32)]


def _uuid4(digits: str) -> str:
    """32 random hexadecimal digits with the version and the variant of a random UUID (RFC 4122) in their places."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _row(action_id: str, request: Request, resource_id: int) -> Row:
    now = clock.now()
    return (
        action_id,
        request.kind,
        dumps(request.args),
        dumps(request.secrets) if request.secrets else None,
        dumps(request.headers),
        request.requester,
        request.user,
        request.user_reference,
        resource_id,
        request.idempotency_key,
        request.created_ts,
        now,
        now,
        "NEW",
    )


def _same_as_before(before: sqlite3.Row, row: dict[str, Any]) -> str | Exception:
    same_kind = before["kind"] == row["kind"]
    same_args = _canonical(before["args"]) == _canonical(row["args"])
    # Those of a final action are erased, and so cannot be compared any more.
    same_secrets = before["finished_ts"] is not None or _canonical(before["secrets"]) == _canonical(row["secrets"])
    if not (same_kind and same_args and same_secrets):
        return IdempotencyKeyReused("this Idempotency-Key came before with another kind or other arguments")
    action_id: str = before["id"]
    return action_id


def _canonical(text: str | None) -> str:
    return json.dumps(loads(text), sort_keys=True)
