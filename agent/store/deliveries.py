"""What hooks have delivered: the same again is known for longer than the action that came of it."""

import hashlib
import sqlite3

# The rows themselves are written, and the oldest removed, by a trigger, in the commit of their action.
FIND = "SELECT action_id FROM deliveries WHERE delivery = ?"


def key(application: str, body: bytes) -> str:
    """The idempotency key of what was delivered. The line end keeps it apart from those that callers can send."""
    digest = hashlib.sha256(application.encode() + b"\0" + body).hexdigest()
    return f"hook\n{digest}"


def find(connection: sqlite3.Connection, key: str) -> str | None:
    """The id of the action that came of a delivery, which may be gone."""
    row = connection.execute(FIND, (key,)).fetchone()
    return None if row is None else str(row["action_id"])
