"""The queue's statements by name, then the functions that run them: one short write per transition."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from agent import clock
from agent.errors import ActionNotFound, NotCancellable
from agent.models import Action, Claimed, Json, Outcome, Requester, State, Transition
from agent.store import Store, events

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

HISTORY_PIECE = 20
"""Lines of a history that are in memory at once."""

HISTORY_BYTES = 4 * 1024 * 1024
"""Bytes of payloads that the history of one action keeps, unless `actions.history_bytes` says otherwise."""

LAST = 2**63 - 1
"""Beyond every place of the order."""

LONGEST_NUMBER = 20
"""Digits: one more than an id has."""


class Standing(NamedTuple):
    """`version` grows with every change of state or payload; `not_before` is in microseconds since the epoch."""

    version: int
    state: State
    kind: str
    not_before: int | None


COLUMNS = (
    "seq, id, kind, args, headers, requester, state, state_payload, "
    "created_ts, scheduled_ts, finished_ts, user, version, outcome, finished_message, reason, not_before, not_after"
)
DUE = "finished_ts IS NULL AND state = 'NEW' AND ifnull(not_before, 0) <= :now AND ifnull(not_after, :now) >= :now"

HEAD = f"SELECT {COLUMNS}, secrets FROM actions WHERE {DUE} ORDER BY seq LIMIT 1"
HEAD_NOT_HELD = f"""
    SELECT {COLUMNS}, secrets FROM actions
    WHERE {DUE} AND kind NOT IN (SELECT value FROM json_each(:held))
    ORDER BY seq LIMIT 1
"""
EXPIRED = """
    SELECT seq, id, not_after, secrets IS NOT NULL AS has_secrets FROM actions
    WHERE finished_ts IS NULL AND not_after < :now AND state = 'NEW' ORDER BY not_after LIMIT 1
"""
PASSED_OVER = f"""
    SELECT {COLUMNS} FROM actions
    WHERE finished_ts IS NULL AND state = 'NEW' AND kind IN (SELECT value FROM json_each(:held))
      AND seq > :after AND seq < :before
    ORDER BY seq LIMIT 1
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
ASK_TO_CANCEL = "UPDATE actions SET cancel_requested = 1 WHERE seq = :seq AND state = 'RUNNING'"
CANCEL_REQUESTED = "SELECT cancel_requested FROM actions WHERE seq = ?"

FINISHED = """
    SELECT kind, id, state FROM actions WHERE finished_order IS NOT NULL
    ORDER BY finished_order DESC LIMIT ?
"""
QUEUE = "SELECT kind, id, state FROM actions WHERE finished_ts IS NULL ORDER BY state = 'RUNNING' DESC, seq"
BY_ID = f"SELECT {COLUMNS} FROM actions WHERE id = ?"
BY_SEQ = f"SELECT {COLUMNS} FROM actions WHERE seq = ?"
HISTORY = """
    SELECT version, timestamp, state, state_payload FROM history WHERE action_seq = :seq AND version <= :version
    ORDER BY version DESC LIMIT :limit
"""
STANDING = "SELECT version, state, kind, not_before FROM actions"
STARTED = "SELECT timestamp FROM history WHERE action_seq = ? AND version = 2 AND state = 'RUNNING'"

# What a receiver is yet to be told of is kept, and with it what became final later: they are told in that order.
PRUNE = """
    DELETE FROM actions WHERE seq IN (
        SELECT seq FROM actions
        WHERE finished_order <= (
            SELECT finished_order FROM actions WHERE finished_order IS NOT NULL
            ORDER BY finished_order DESC LIMIT 1) - :keep
          AND finished_order < ifnull((
            SELECT min((SELECT min(finished_order) FROM outbox WHERE receiver_id = receivers.id))
            FROM receivers), 9223372036854775807)
        ORDER BY finished_order LIMIT :limit)
"""

# The numbers of final actions follow one another, so that this is read from both ends of an index.
FINAL = """
    SELECT ifnull(max(finished_order) - (
        SELECT finished_order FROM actions WHERE finished_order IS NOT NULL ORDER BY finished_order LIMIT 1) + 1, 0)
    FROM (SELECT finished_order FROM actions WHERE finished_order IS NOT NULL ORDER BY finished_order DESC LIMIT 1)
"""


def claim(store: Store, held: Sequence[str] = ()) -> Claimed | None:
    """Make the head of the queue RUNNING, on disk before it is returned; None where nothing waits.

    Actions of the `held` kinds stay where they are, and the others go past them.
    """
    return store.write(lambda connection: _claim(connection, held))


def passed_over(store: Store, held: Sequence[str], after: int, before: int = LAST) -> Iterator[Action]:
    """What waits of the `held` kinds between two places of the order, read one by one."""
    between = {"held": dumps(list(held)), "after": after, "before": before}
    while rows := store.read(PASSED_OVER, between):
        action = _action(rows[0])
        yield action
        between["after"] = action.seq


def running(store: Store) -> Claimed | None:
    """The action that an executor before this one left RUNNING."""
    rows = store.read(RUNNING)
    return _left_running(rows[0]) if rows else None


def record(
    store: Store, seq: int, payload: Json, *, measured: bool = False, history_bytes: int = HISTORY_BYTES
) -> None:
    """Record the new payload of a running action; a measurement replaces the measurement before it in the history.

    The history keeps `history_bytes` of an action's payloads; for those beyond it says how many bytes were left out.
    """
    row = {"seq": seq, "payload": _payload(payload), "now": clock.now(), "measured": int(measured)}
    row = _sized(row, history_bytes)
    if measured:
        row["size"] = 0  # its line is replaced, so that measurements do not add up
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
    history_bytes: int = HISTORY_BYTES,
) -> Claimed | None:
    """Store how an action ended and, in the same transaction, claim the next one that is of no `held` kind.

    `outcome` is that of `state` unless something more precise is known.
    """
    outcome = outcome or (Outcome.DONE if state is State.DONE else Outcome.FAILED)
    row = _final(seq, outcome, payload, message, history_bytes)

    def work(connection: sqlite3.Connection) -> Claimed | None:
        _finish(connection, row)
        if has_secrets:
            store.secret_erased()
        return _claim(connection, held) if claim_next else None

    return store.write(work)


def hand_over(store: Store, seq: int, handed_over: bool) -> None:
    """Note (or take back) that a running action was left between two steps, by a clean stop."""
    row = {"seq": seq, "handed_over": handed_over}
    store.write(lambda connection: _one(connection.execute(HAND_OVER, row)))


def cancel(
    store: Store,
    action_id: str,
    *,
    running: bool = True,
    user: str | None = None,
    requester: Requester | None = None,
) -> Action:
    """End a NEW action, ask a RUNNING one to stop, at the wish of `user`; returns the action as it is then.

    `requester` is the channel that the wish came by.

    Raises `ActionNotFound`, and `NotCancellable` for a final one, or a running one unless `running`.
    """

    def work(connection: sqlite3.Connection) -> Action:
        action = _by_id(connection, action_id)
        if action.state.final:
            raise NotCancellable(f"the action is {action.state} already")
        if action.state is State.RUNNING and not running:
            raise NotCancellable(f"a running {action.kind} cannot be interrupted")
        whose = {"user": user, "requester": requester, "kind": action.kind, "action_id": action.id}
        events.add(connection, "action.cancel_requested", {"state": action.state}, **whose)
        if action.state is State.NEW:
            final = _final(action.seq, Outcome.CANCELLED, {"cancelled": True}, "cancelled before it started")
            if connection.execute(HAS_SECRETS, {"seq": action.seq}).fetchone()[0]:
                store.secret_erased()
            _finish(connection, final)
        else:
            _one(connection.execute(ASK_TO_CANCEL, {"seq": action.seq}))
        return _by_id(connection, action_id)

    return store.write(work)


def expire(store: Store) -> list[str]:
    """Fail the actions that may not start any more; returns their ids."""
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


def cancel_requested(store: Store, seq: int) -> bool:
    return any(row[0] for row in store.read(CANCEL_REQUESTED, (seq,)))


def finished(store: Store, limit: int) -> list[dict[str, str]]:
    """Kind, id and state of the newest `limit` final actions, newest first."""
    return [dict(row) for row in store.read(FINISHED, (limit,))]


def queue(store: Store) -> list[dict[str, str]]:
    """Kind, id and state of what is running or waits, in the order of execution."""
    return [dict(row) for row in store.read(QUEUE)]


def by_id(store: Store, action_id: str) -> tuple[Action, int]:
    """An action by either of its ids, and the version that it is at. Raises `ActionNotFound`."""
    rows = store.read(*_by_either(action_id))
    if not rows:
        raise _not_found(action_id)
    return _action(rows[0]), rows[0]["version"]


def standing(store: Store, action_id: str) -> Standing:
    """What a waiting caller looks at, by either id and without the arguments. Raises `ActionNotFound`."""
    column = "seq" if _is_number(action_id) else "id"
    rows = store.read(f"{STANDING} WHERE {column} = ?", (_key(action_id),))
    if not rows:
        raise _not_found(action_id)
    version, state, kind, not_before = rows[0]
    return Standing(version, State(state), kind, not_before)


def started(store: Store, action: Action) -> int | None:
    """When it was claimed, in microseconds since the epoch; None where it was not."""
    rows = store.read(STARTED, (action.seq,))
    return rows[0]["timestamp"] if rows else None


def history(store: Store, action: Action, version: int) -> Iterator[Transition]:
    """Every state that the action was in up to a version, newest first, read piece by piece.

    `version` is that of `action`, whose payload is there in full. Raises `ActionNotFound` where it was pruned.
    """
    newest = version
    while version:
        rows = store.read(HISTORY, {"seq": action.seq, "version": version, "limit": HISTORY_PIECE})
        if not rows:
            raise _not_found(action.id)
        for row in rows:
            payload = action.state_payload if row["version"] == newest else loads(row["state_payload"])
            yield Transition(row["version"], row["timestamp"], State(row["state"]), payload)
        version = rows[-1]["version"] - 1


def prune(store: Store, keep: int, limit: int) -> int:
    """Remove the oldest final actions beyond the newest `keep`, at most `limit`; returns how many."""

    def work(connection: sqlite3.Connection) -> int:
        count = connection.execute(PRUNE, {"keep": keep, "limit": limit}).rowcount
        # sqlite3 takes one step of a statement without columns, and one step gives back one page.
        for _ in range(connection.execute("PRAGMA freelist_count").fetchone()[0]):
            connection.execute("PRAGMA incremental_vacuum")
        return count

    return store.write(work)


def final(store: Store) -> int:
    """How many final actions there are."""
    return int(store.read(FINAL)[0][0])


def dumps(value: Json) -> str:
    """The JSON that is stored: ASCII, so that a lone surrogate passes; raises ValueError for NaN."""
    return _encode(value) if value != {} else "{}"


def loads(text: str | None) -> Json:
    """What `dumps` made; null for NULL."""
    return None if text is None else json.loads(text)


def _claim(connection: sqlite3.Connection, held: Sequence[str]) -> Claimed | None:
    now = clock.now()
    head, which = (HEAD_NOT_HELD, {"now": now, "held": dumps(list(held))}) if held else (HEAD, {"now": now})
    row = connection.execute(head, which).fetchone()
    if row is None:
        return None
    since = {"now": now, "boot": clock.boot_id(), "since": clock.monotonic()}
    _one(connection.execute(CLAIM, {"seq": row["seq"], **since}))
    return Claimed(_action(row, State.RUNNING), json.loads(row["secrets"] or "{}"), row["version"] + 1)


def _finish(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    _one(connection.execute(FINISH, row | {"now": clock.now()}))


def _left_running(row: sqlite3.Row) -> Claimed:
    # The clock of another boot says nothing: a reboot starts an action's time again.
    same_boot = row["running_boot"] == clock.boot_id()
    return Claimed(
        _action(row),
        json.loads(row["secrets"] or "{}"),
        row["version"],
        elapsed=clock.monotonic() - row["running_since"] if same_boot else 0.0,
        cancel_requested=bool(row["cancel_requested"]),
        handed_over=bool(row["handed_over"]),
    )


def _final(
    seq: int, outcome: Outcome, payload: Json, message: str, history_bytes: int = HISTORY_BYTES
) -> dict[str, Any]:
    # What a program printed or a caller sent may hold what is no text in SQLite.
    text = message.encode(errors="backslashreplace").decode()
    row = {"seq": seq, "state": outcome.state, "outcome": outcome, "payload": _payload(payload), "message": text}
    return _sized(row, history_bytes)


def _sized(row: dict[str, Any], history_bytes: int) -> dict[str, Any]:
    return row | {"size": len(row["payload"] or ""), "history_limit": history_bytes}


def _payload(payload: Json) -> str | None:
    return None if payload is None else dumps(payload)


def _by_id(connection: sqlite3.Connection, action_id: str) -> Action:
    row = connection.execute(*_by_either(action_id)).fetchone()
    if row is None:
        raise _not_found(action_id)
    return _action(row)


def _by_either(action_id: str) -> tuple[str, tuple[str | int]]:
    return BY_SEQ if _is_number(action_id) else BY_ID, (_key(action_id),)


def _is_number(action_id: str) -> bool:
    """Digits alone are the id of the AsyncAction, all else is the uuid."""
    return action_id.isascii() and action_id.isdecimal()


def _key(action_id: str) -> str | int:
    return min(int(action_id[:LONGEST_NUMBER]), LAST) if _is_number(action_id) else action_id


def _not_found(action_id: str) -> ActionNotFound:
    return ActionNotFound(f"no action has the id {action_id[:100]!r}")


def _action(row: sqlite3.Row, state: State | None = None) -> Action:
    return Action(
        seq=row["seq"],
        id=row["id"],
        kind=row["kind"],
        args=loads(row["args"]),
        headers=loads(row["headers"]),
        requester=row["requester"],
        state=state or State(row["state"]),
        state_payload=loads(row["state_payload"]),
        created_ts=row["created_ts"],
        scheduled_ts=row["scheduled_ts"],
        finished_ts=row["finished_ts"],
        user=row["user"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        message=row["finished_message"],
        reason=row["reason"],
        not_before=row["not_before"],
        not_after=row["not_after"],
    )


def _one(cursor: sqlite3.Cursor) -> None:
    # Somebody else finished or claimed it: only possible where two executors run, which the lock forbids.
    if cursor.rowcount != 1:
        raise RuntimeError("the action is not in the state that this executor left it in")
