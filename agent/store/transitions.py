"""The transitions of an action: the SQL statements by name, then one short transaction for each."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from agent import clock
from agent.errors import NotApprovable, NotCancellable
from agent.models import Action, Claimed, Json, Outcome, Requester, State
from agent.store import Store, actions, audit_events
from agent.store.actions import COLUMNS
from agent.store.encoding import dumps

HISTORY_BYTES = 4 * 1024 * 1024
"""The default of `actions.history_bytes`: bytes of payloads that the history of one action keeps."""

DUE = (
    "finished_ts IS NULL AND state = 'NEW' AND ifnull(not_before, 0) <= :now AND ifnull(not_after, :now) >= :now "
    "AND (needs_approval = 0 OR approved_by IS NOT NULL)"
)
HEAD = f"SELECT {COLUMNS}, secrets FROM actions WHERE {DUE} ORDER BY seq LIMIT 1"
HEAD_NOT_HELD = f"""
    SELECT {COLUMNS}, secrets FROM actions
    WHERE {DUE} AND kind NOT IN (SELECT value FROM json_each(:held))
      AND (approved_by IS NOT NULL OR kind NOT IN (SELECT value FROM json_each(:closed)))
    ORDER BY seq LIMIT 1
"""
EXPIRED = """
    SELECT seq, id, not_after, secrets IS NOT NULL AS has_secrets FROM actions
    WHERE finished_ts IS NULL AND not_after < :now AND state = 'NEW' ORDER BY not_after LIMIT 1
"""
CLAIM = """
    UPDATE actions
    SET state = 'RUNNING', state_ts = :now, version = version + 1, running_boot = :boot, running_since = :since
    WHERE seq = :seq AND state = 'NEW'
"""
RUNNING = f"""
    SELECT {COLUMNS}, secrets, running_boot, running_since, cancel_requested, handed_over
    FROM actions WHERE state = 'RUNNING'
"""
RECORD = """
    UPDATE actions
    SET state = 'RUNNING', state_payload = :payload, state_ts = :now, version = version + 1, measured = :measured,
        history_bytes = history_bytes + :size, history_full = history_bytes + :size > :history_limit
    WHERE seq = :seq AND state = 'RUNNING'
"""
FINISH = """
    UPDATE actions
    SET state = :state, state_payload = :payload, state_ts = :now, version = version + 1,
        measured = 0, finished_ts = :now, secrets = NULL, finished_message = :message, outcome = :outcome,
        history_bytes = history_bytes + :size, history_full = history_bytes + :size > :history_limit,
        finished_order = 1 + ifnull((
            SELECT finished_order FROM actions WHERE finished_order IS NOT NULL
            ORDER BY finished_order DESC LIMIT 1), 0)
    WHERE seq = :seq AND finished_ts IS NULL
"""
HAS_SECRETS = "SELECT secrets IS NOT NULL FROM actions WHERE seq = :seq"
HAND_OVER = "UPDATE actions SET handed_over = :handed_over WHERE seq = :seq AND state = 'RUNNING'"
REQUEST_CANCEL = "UPDATE actions SET cancel_requested = 1 WHERE seq = :seq AND state = 'RUNNING'"
CANCEL_REQUESTED = "SELECT cancel_requested FROM actions WHERE seq = ?"
APPROVE = "UPDATE actions SET approved_by = :user WHERE seq = :seq"


def claim(store: Store, held: Sequence[str] = (), closed: Sequence[str] = ()) -> Claimed | None:
    """Make the first action of the queue RUNNING, on disk, and return it; None if no action can start.

    Actions of the `held` kinds, and of the `closed` kinds without an approval, stay in the queue; the others overtake
    them.
    """
    return store.write(lambda connection: _claim(connection, held, closed))


def running(store: Store) -> Claimed | None:
    """The RUNNING action of an earlier executor; None without one."""
    rows = store.read(RUNNING)
    return _left_running(rows[0]) if rows else None


def record(
    store: Store, seq: int, payload: Json, *, measured: bool = False, history_bytes: int = HISTORY_BYTES
) -> None:
    """Store the new payload of a running action. A measurement replaces the previous one in the history.

    The history keeps `history_bytes` of the payloads of an action; beyond that, each entry has only its size.
    """
    row = {"seq": seq, "payload": _payload(payload), "now": clock.now(), "measured": int(measured)}
    row = _sized(row, history_bytes)
    if measured:
        row["size"] = 0  # its line is replaced: the bytes of measurements do not add up
    store.write(lambda connection: _one(connection.execute(RECORD, row)))


def finish(
    store: Store,
    seq: int,
    state: State,
    payload: Json,
    message: str,
    *,
    claim_next: bool,
    outcome: Outcome | None = None,
    has_secrets: bool = True,
    held: Sequence[str] = (),
    closed: Sequence[str] = (),
    history_bytes: int = HISTORY_BYTES,
) -> Claimed | None:
    """Store the end of an action and, in the same transaction, claim the next one like `claim`.

    `outcome` defaults to the general outcome of `state`.
    """
    outcome = outcome or (Outcome.DONE if state is State.DONE else Outcome.FAILED)
    row = _final(seq, outcome, payload, message, history_bytes)

    def work(connection: sqlite3.Connection) -> Claimed | None:
        _finish(connection, row)
        if has_secrets:
            store.secret_erased()
        return _claim(connection, held, closed) if claim_next else None

    return store.write(work)


def hand_over(store: Store, seq: int, handed_over: bool) -> None:
    """Mark (or unmark) a running action as handed over: a clean stop left it between two steps."""
    row = {"seq": seq, "handed_over": handed_over}
    store.write(lambda connection: _one(connection.execute(HAND_OVER, row)))


def cancel_requested(store: Store, seq: int) -> bool:
    """Whether the cancellation of this running action was requested."""
    return any(row[0] for row in store.read(CANCEL_REQUESTED, (seq,)))


def cancel(
    store: Store,
    action_id: str,
    *,
    running: bool = True,
    user: str | None = None,
    requester: Requester | None = None,
) -> Action:
    """Cancel for `user`: a NEW action ends, a RUNNING one is requested to stop. Returns the changed action.

    `requester` is the channel of the request. `running`: whether the kind of a RUNNING action can be interrupted.

    Raises `ActionNotFound`, and `NotCancellable` if the action is final or cannot be interrupted.
    """

    def work(connection: sqlite3.Connection) -> Action:
        action = actions.read(connection, action_id)
        if action.state.final:
            raise NotCancellable(f"the action is {action.state} already")
        if action.state is State.RUNNING and not running:
            raise NotCancellable(f"a running {action.kind} cannot be interrupted")
        origin = {"user": user, "requester": requester, "kind": action.kind, "action_id": action.id}
        audit_events.add(connection, "action.cancel_requested", {"state": action.state}, **origin)
        if action.state is State.NEW:
            final = _final(action.seq, Outcome.CANCELLED, {"cancelled": True}, "cancelled before it started")
            if connection.execute(HAS_SECRETS, {"seq": action.seq}).fetchone()[0]:
                store.secret_erased()
            _finish(connection, final)
        else:
            _one(connection.execute(REQUEST_CANCEL, {"seq": action.seq}))
        return actions.read(connection, action_id)

    return store.write(work)


def approve(store: Store, action_id: str, user: str, requester: Requester) -> Action:
    """Approve an action that waits for an approval or its window. Returns the changed action.

    Raises `ActionNotFound`, and `NotApprovable` if it has started, was approved already, or was scheduled by `user`.
    """

    def work(connection: sqlite3.Connection) -> Action:
        action = actions.read(connection, action_id)
        if action.state is not State.NEW:
            raise NotApprovable(f"the action is {action.state} already")
        if action.approved_by is not None:
            raise NotApprovable(f"the action was approved already, by {action.approved_by}")
        if action.user == user:
            raise NotApprovable("the identity that scheduled an action may not approve it")
        origin = {"user": user, "requester": requester, "kind": action.kind, "action_id": action.id}
        audit_events.add(connection, "action.approved", {"needed": action.needs_approval}, **origin)
        _one(connection.execute(APPROVE, {"seq": action.seq, "user": user}))
        return actions.read(connection, action_id)

    return store.write(work)


def expire(store: Store) -> list[str]:
    """Fail the waiting actions whose Not-After has passed; returns their ids."""
    now = clock.now()
    if not store.read(EXPIRED, {"now": now}):
        return []

    def work(connection: sqlite3.Connection) -> list[str]:
        expired = []
        while row := connection.execute(EXPIRED, {"now": now}).fetchone():
            message = f"expired: not started by {clock.rfc3339(row['not_after'])}"
            _finish(connection, _final(row["seq"], Outcome.EXPIRED, {"expired": True, "message": message}, message))
            if row["has_secrets"]:
                store.secret_erased()
            expired.append(row["id"])
        return expired

    return store.write(work)


def fail(connection: sqlite3.Connection, seq: int, outcome: Outcome, payload: Json, message: str) -> None:
    """End a waiting or running action inside a transaction, without its kind."""
    _finish(connection, _final(seq, outcome, payload, message))


def _claim(connection: sqlite3.Connection, held: Sequence[str], closed: Sequence[str]) -> Claimed | None:
    now = clock.now()
    parameters = {"now": now, "held": dumps(list(held)), "closed": dumps(list(closed))}
    row = connection.execute(HEAD_NOT_HELD if held or closed else HEAD, parameters).fetchone()
    if row is None:
        return None
    since = {"now": now, "boot": clock.boot_id(), "since": clock.monotonic()}
    _one(connection.execute(CLAIM, {"seq": row["seq"], **since}))
    return Claimed(actions.from_row(row, State.RUNNING), json.loads(row["secrets"] or "{}"), row["version"] + 1)


def _finish(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    _one(connection.execute(FINISH, row | {"now": clock.now()}))


def _left_running(row: sqlite3.Row) -> Claimed:
    # The clocks of two boots cannot be compared: after a reboot the time of an action starts again.
    same_boot = row["running_boot"] == clock.boot_id()
    return Claimed(
        actions.from_row(row),
        json.loads(row["secrets"] or "{}"),
        row["version"],
        elapsed=clock.monotonic() - row["running_since"] if same_boot else 0.0,
        cancel_requested=bool(row["cancel_requested"]),
        handed_over=bool(row["handed_over"]),
    )


def _final(
    seq: int, outcome: Outcome, payload: Json, message: str, history_bytes: int = HISTORY_BYTES
) -> dict[str, Any]:
    # Output of programs and data of callers may contain surrogates, which SQLite cannot store.
    text = message.encode(errors="backslashreplace").decode()
    row = {"seq": seq, "state": outcome.state, "outcome": outcome, "payload": _payload(payload), "message": text}
    return _sized(row, history_bytes)


def _sized(row: dict[str, Any], history_bytes: int) -> dict[str, Any]:
    return row | {"size": len(row["payload"] or ""), "history_limit": history_bytes}


def _payload(payload: Json) -> str | None:
    return None if payload is None else dumps(payload)


def _one(cursor: sqlite3.Cursor) -> None:
    # Only a second executor could have finished or claimed it, and the lock prevents a second executor.
    if cursor.rowcount != 1:
        raise RuntimeError("another process changed the state of the action")
