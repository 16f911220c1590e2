"""Idempotency keys: find the action of a key, and compare a later request with the first one."""

import hashlib
import hmac
import json
import os
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

from agent import clock
from agent.errors import ActionAlreadyExists, IdempotencyKeyReused
from agent.models import Json, Request, Requester
from agent.store import Store

KEPT = 24 * 3600
"""Seconds; a key is kept at least as long."""
NEWEST = 10_000
"""The number of newest keys that are kept at any age: a clock that jumps forward removes none of them."""
PIECE = 500
"""Keys removed by one commit."""
KEY_BYTES = 32
"""Length of the hash key of `Fingerprints`."""
REPEATED = 600
"""Seconds within which a request with the same Request-Id, kind and arguments is the same request."""

FIND = """
    SELECT idempotency_keys.action_id, idempotency_keys.fingerprint, idempotency_keys.created_ts, kind, args
    FROM idempotency_keys LEFT JOIN actions ON actions.id = idempotency_keys.action_id
    WHERE source = ? AND owner = ? AND key = ?
"""
KNOWN = """
    SELECT 1 FROM actions WHERE id = :id UNION ALL SELECT 1 FROM idempotency_keys WHERE action_id = :id LIMIT 1
"""
# The agent made the id of an action without a key. Actions older than `KEPT` are not remembered.
REMEMBER = """
    INSERT INTO idempotency_keys (source, owner, key, action_id, created_ts)
    SELECT 'id', '', id, id, scheduled_ts FROM actions
    WHERE seq IN ({actions}) AND scheduled_ts >= :after
      AND NOT EXISTS (SELECT 1 FROM idempotency_keys WHERE action_id = id)
"""
PRUNE = """
    DELETE FROM idempotency_keys WHERE seq IN (
        SELECT seq FROM idempotency_keys
        WHERE seq <= (SELECT max(seq) FROM idempotency_keys) - :newest AND created_ts < :before
          AND NOT EXISTS (SELECT 1 FROM actions WHERE id = action_id)
        ORDER BY seq LIMIT :limit)
"""


class Owner(NamedTuple):
    """The owner of a key, and its source: Idempotency-Key, action id, Request-Id, or the delivery of a hook.

    A delivery of a hook belongs to no user.
    """

    source: Literal["caller", "hook", "id", "request"]
    user: str


class Fingerprints:
    """Keyed hashes of requests, so that secrets can be compared after they were erased.

    The hash key is in a separate file beside the database: an attacker with a copy of the database alone cannot try
    passwords against a fingerprint.
    """

    def __init__(self, db: Path) -> None:
        self._path = db.with_name(f"{db.name}.key")
        self._reading = Lock()
        self._key: bytes | None = None

    def identified(self, request: Request) -> tuple[Request, bytes | None]:
        """The request with a key made of its id or Request-Id, and its fingerprint. Raises `OSError`."""
        if request.action_id is not None:
            request = replace(request, idempotency_key=request.action_id)
        elif request.idempotency_key is None and request.request_id is not None:
            # Kind and arguments are part of the key: a Request-Id with other arguments is another request.
            fingerprint, span = self._of(request).hex(), clock.now() // (REPEATED * 1_000_000)
            key, earlier = (f"{request.request_id}\n{fingerprint}\n{each}" for each in (span, span - 1))
            request = replace(request, idempotency_key=key, earlier_key=earlier)
        return request, None if request.idempotency_key is None else self._of(request)

    def _of(self, request: Request) -> bytes:
        with self._reading:
            if self._key is None:
                self._key = _read_or_create(self._path)
        text = _canonical([request.kind, request.args, request.secrets])
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def delivery_key(application: str, body: bytes) -> str:
    """The idempotency key of a hook's delivery."""
    return hashlib.sha256(application.encode() + b"\0" + body).hexdigest()


def owner(request: Request) -> Owner:
    """The owner of the key of a request."""
    if request.requester is Requester.HOOK:
        return Owner("hook", "")
    if request.action_id is not None:
        return Owner("id", request.user)
    return Owner("caller" if request.earlier_key is None else "request", request.user)


def find(connection: sqlite3.Connection, request: Request, fingerprint: bytes | None) -> str | None:
    """The id of the action of this request's key, which may have been pruned; None for a new key.

    Raises `IdempotencyKeyReused` if the key was used with another kind or other arguments, and `ActionAlreadyExists`
    if any identity has used the request's own id.
    """
    if request.action_id is not None:
        if connection.execute(KNOWN, {"id": request.action_id}).fetchone():
            raise ActionAlreadyExists(f"an action with the id {request.action_id} was scheduled before")
        return None
    if request.idempotency_key is None:
        return None
    before = connection.execute(FIND, (*owner(request), request.idempotency_key)).fetchone()
    if before is None and request.earlier_key is not None:
        before = connection.execute(FIND, (*owner(request), request.earlier_key)).fetchone()
        if before is not None and before["created_ts"] < clock.now() - REPEATED * 1_000_000:
            return None
    if before is None:
        return None
    if not _is_same(before, request, fingerprint or b""):
        raise IdempotencyKeyReused("this Idempotency-Key was already used with another kind or other arguments")
    return str(before["action_id"])


def remember(connection: sqlite3.Connection, actions: str, parameters: dict[str, int]) -> None:
    """Keep the ids of actions as keys before the actions are removed, so that no id is used twice.

    `actions` is a query for their sequence numbers, with these parameters.
    """
    after = clock.now() - KEPT * 1_000_000
    connection.execute(REMEMBER.format(actions=actions), parameters | {"after": after})


def prune(store: Store) -> int:
    """Remove at most `PIECE` old keys, none of an existing action; returns how many."""
    before = clock.now() - KEPT * 1_000_000
    return store.write_one(PRUNE, {"newest": NEWEST, "before": before, "limit": PIECE})


def _is_same(before: sqlite3.Row, request: Request, fingerprint: bytes) -> bool:
    if before["fingerprint"] is not None:
        return hmac.compare_digest(before["fingerprint"], fingerprint)
    if before["kind"] is None:
        return True
    # A row of an older schema has no fingerprint, and no secrets once it is final.
    return bool(before["kind"] == request.kind) and _canonical(json.loads(before["args"])) == _canonical(request.args)


def _canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _read_or_create(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    written = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    with open(written, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # Another agent of the same database may have been faster: then its key is used.
        with suppress(FileExistsError):
            os.link(written, path)
    finally:
        written.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path.read_bytes()
