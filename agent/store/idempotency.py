"""Idempotency keys: which action a key scheduled, and whether a later request with the key is the same."""

import hashlib
import hmac
import json
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Lock

from agent import clock
from agent.errors import IdempotencyKeyReused
from agent.models import Json, Request, Requester
from agent.store import Store

KEPT = 24 * 3600
"""Seconds that a key is kept at least."""
NEWEST = 10_000
"""Keys that are kept whatever their age: a clock that jumps forward forgets none of them."""
PIECE = 500
"""Keys removed by one commit."""

FIND = """
    SELECT idempotency_keys.action_id, idempotency_keys.fingerprint, kind, args
    FROM idempotency_keys LEFT JOIN actions ON actions.id = idempotency_keys.action_id
    WHERE owner = ? AND key = ?
"""
PRUNE = """
    DELETE FROM idempotency_keys WHERE seq IN (
        SELECT seq FROM idempotency_keys
        WHERE seq <= (SELECT max(seq) FROM idempotency_keys) - :newest AND created_ts < :before
          AND NOT EXISTS (SELECT 1 FROM actions WHERE id = action_id)
        ORDER BY seq LIMIT :limit)
"""


class Fingerprints:
    """Keyed hashes of requests, so that secrets can be compared after they were erased.

    The hash key lies in a file of its own beside the database: a copy of the database alone does not allow an
    attacker to try passwords against a fingerprint.
    """

    def __init__(self, db: Path) -> None:
        self._path = db.with_name(f"{db.name}.key")
        self._reading = Lock()
        self._key: bytes | None = None

    def of(self, request: Request) -> bytes | None:
        """The fingerprint of a request that has an idempotency key. Raises `OSError`."""
        if request.idempotency_key is None:
            return None
        with self._reading:
            if self._key is None:
                self._key = _read_or_create(self._path)
        text = _canonical([request.kind, request.args, request.secrets])
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def delivery_key(application: str, body: bytes) -> str:
    """The idempotency key of a hook's delivery. No header can contain its line end."""
    digest = hashlib.sha256(application.encode() + b"\0" + body).hexdigest()
    return f"hook\n{digest}"


def owner(request: Request) -> str:
    """Whose key the request's is. A delivery of a hook belongs to no user."""
    return "" if request.requester is Requester.HOOK else request.user


def find(connection: sqlite3.Connection, request: Request, fingerprint: bytes | None) -> str | None:
    """The id of the action that this request's key scheduled before, which may have been pruned; None for a new key.

    Raises `IdempotencyKeyReused` where the key came with another kind or other arguments.
    """
    if request.idempotency_key is None:
        return None
    before = connection.execute(FIND, (owner(request), request.idempotency_key)).fetchone()
    if before is None:
        return None
    if not _is_same(before, request, fingerprint or b""):
        raise IdempotencyKeyReused("this Idempotency-Key came before with another kind or other arguments")
    return str(before["action_id"])


def prune(store: Store) -> int:
    """Remove a piece of the keys that are too old; a key is kept as long as its action. Returns how many."""
    before = clock.now() - KEPT * 1_000_000
    return store.write_one(PRUNE, {"newest": NEWEST, "before": before, "limit": PIECE})


def _is_same(before: sqlite3.Row, request: Request, fingerprint: bytes) -> bool:
    if before["fingerprint"] is not None:
        return hmac.compare_digest(before["fingerprint"], fingerprint)
    if before["kind"] is None:
        return True
    # Accepted by an agent with an older schema, which kept neither fingerprint nor, once final, the secrets.
    return bool(before["kind"] == request.kind) and _canonical(json.loads(before["args"])) == _canonical(request.args)


def _canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _read_or_create(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    written = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    with open(written, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(os.urandom(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        # Another agent of the same database may have been faster: its key counts.
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
