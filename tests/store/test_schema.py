"""Constraints of the schema: each test is a possible bug in the code above it."""

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from agent.models import State
from agent.store import Store, retention, transitions
from tests.store.scenes import claim, finish, info, schedule


def broken(store: Store, sql: str, *parameters: object) -> str:
    """The error of a statement that the schema must refuse."""
    with pytest.raises(sqlite3.IntegrityError) as caught:
        store.write(lambda connection: connection.execute(sql, parameters))
    return str(caught.value)


def rows_of(store: Store) -> list[tuple[object, ...]]:
    found = store.read("SELECT * FROM actions ORDER BY seq") + store.read(
        "SELECT * FROM history ORDER BY action_seq, version"
    )
    return [tuple(row) for row in found]


def test_two_running_actions_are_refused(store: Store) -> None:
    schedule(store)
    schedule(store)
    claim(store)
    assert "UNIQUE" in broken(store, "UPDATE actions SET state = 'RUNNING', version = version + 1 WHERE state = 'NEW'")


@pytest.mark.parametrize("state", ["NEW", "RUNNING", "DONE", "FAILED"])
def test_a_finished_action_never_changes_its_state(store: Store, state: str) -> None:
    schedule(store)
    finish(store)
    before = rows_of(store)
    assert broken(store, "UPDATE actions SET state = ?, version = version + 1", state)
    assert rows_of(store) == before


@pytest.mark.parametrize(
    "column",
    ["state_payload", "args", "headers", "secrets", "created_ts", "scheduled_ts", "finished_ts", "finished_order",
     "finished_message", "state_ts", "id", "kind", "requester", "user", "seq", "version", "idempotency_key"],
)  # fmt: skip
def test_finished_action_never_changes_any_column(store: Store, column: str) -> None:
    schedule(store)
    finish(store)
    before = rows_of(store)
    assert "never changes" in broken(store, f"UPDATE actions SET {column} = '1'")  # noqa: S608
    assert rows_of(store) == before


@pytest.mark.parametrize("begin", ["NEW", "RUNNING"])
def test_an_action_never_becomes_new_again(store: Store, begin: str) -> None:
    schedule(store)
    if begin == "RUNNING":
        claim(store)
    assert "transition" in broken(store, "UPDATE actions SET state = 'NEW', version = version + 1")


@pytest.mark.parametrize("state", ["RUNNING", "DONE", "FAILED"])
def test_an_action_begins_as_new(store: Store, state: str) -> None:
    schedule(store)
    copied = "args, headers, requester, user, resource_id, created_ts, scheduled_ts, state_ts"
    final = ", 1, 9" if state != "RUNNING" else ", NULL, NULL"
    sql = f"""INSERT INTO actions (id, kind, {copied}, state, finished_ts, finished_order)
              SELECT 'x', 'test', {copied}, '{state}'{final} FROM actions"""  # noqa: S608
    assert "begins as NEW" in broken(store, sql)


@pytest.mark.parametrize(("begin", "state"), [("NEW", "PAUSED"), ("RUNNING", ""), ("RUNNING", "done")])
def test_unknown_state_is_refused(store: Store, begin: str, state: str) -> None:
    schedule(store)
    if begin == "RUNNING":
        claim(store)
    assert "CHECK" in broken(store, "UPDATE actions SET state = ?, version = version + 1", state)


def test_schema_refuses_a_final_state_without_finished_ts(store: Store) -> None:
    schedule(store)
    claim(store)
    assert "CHECK" in broken(store, "UPDATE actions SET state = 'DONE', version = version + 1")
    assert "CHECK" in broken(store, "UPDATE actions SET finished_ts = 1, finished_order = 1, outcome = 'failed'")


def test_final_state_needs_a_matching_outcome(store: Store) -> None:
    schedule(store)
    claim(store)
    ended = "version = version + 1, finished_ts = 1, finished_order = 1"
    for change in (
        f"state = 'DONE', {ended}",
        f"state = 'DONE', {ended}, outcome = 'failed'",
        f"state = 'FAILED', {ended}, outcome = 'done'",
        "outcome = 'cancelled'",
    ):
        assert "an action has an outcome once it is final" in broken(store, f"UPDATE actions SET {change}")  # noqa: S608


@pytest.mark.parametrize("running", [False, True])
def test_waiting_or_running_action_is_never_deleted(store: Store, running: bool) -> None:
    schedule(store)
    if running:
        claim(store)
    before = rows_of(store)
    assert "never deleted" in broken(store, "DELETE FROM actions")
    assert "never deleted" in broken(store, "DELETE FROM history")
    assert rows_of(store) == before


def test_history_never_changes(store: Store) -> None:
    schedule(store)
    finish(store)
    for column in ("state", "state_payload", "timestamp", "version", "action_seq"):
        assert "never changes" in broken(store, f"UPDATE history SET {column} = '7'")  # noqa: S608


def test_history_is_written_by_the_change_itself(store: Store) -> None:
    """Also for a statement that does not mention the history."""
    schedule(store)
    for change in (
        "state = 'RUNNING', version = version + 1",
        "state_payload = '1', version = version + 1",
        "state = 'RUNNING', state_payload = '2', version = version + 1",
        "state = 'DONE', version = version + 1, finished_ts = 1, finished_order = 1, outcome = 'done'",
    ):
        store.write_one(f"UPDATE actions SET {change}", {})  # noqa: S608
    history = store.read("SELECT state, state_payload FROM history ORDER BY version")
    assert [tuple(row) for row in history] == [
        ("NEW", None),
        ("RUNNING", None),
        ("RUNNING", "1"),
        ("RUNNING", "2"),
        ("DONE", "2"),
    ]


def test_change_of_state_without_a_row_of_history_is_refused(store: Store) -> None:
    schedule(store)
    assert "UNIQUE" in broken(store, "UPDATE actions SET state = 'RUNNING'")


def test_a_full_life_leaves_a_full_history(store: Store) -> None:
    action_id = schedule(store)
    seq = claim(store).action.seq
    transitions.record(store, seq, {"count": 1})
    transitions.record(store, seq, {"count": 1})
    transitions.finish(store, seq, State.FAILED, [None], "no", claim_next=False)
    action, history = info(store, action_id)
    assert [(line.state, line.state_payload) for line in reversed(history)] == [
        (State.NEW, None),
        (State.RUNNING, None),
        (State.RUNNING, {"count": 1}),
        (State.RUNNING, {"count": 1}),
        (State.FAILED, [None]),
    ]
    assert (action.state, action.state_payload) == (State.FAILED, [None])
    assert all(then.version - line.version == 1 for line, then in pairwise(reversed(history)))


def test_secrets_are_erased_when_the_action_is_final(store: Store, tmp_path: Path) -> None:
    secret = "correct horse battery staple"
    schedule(store, secrets={"password": secret})
    assert claim(store).secrets == {"password": secret}
    left = transitions.running(store)
    assert left is not None
    assert left.secrets == {"password": secret}
    assert "CHECK" in broken(
        store,
        "UPDATE actions SET state = 'DONE', version = version + 1, finished_ts = 1, finished_order = 1, "
        "outcome = 'done'",
    )
    transitions.finish(store, left.action.seq, State.DONE, None, "", claim_next=False)
    assert store.read("SELECT secrets FROM actions")[0][0] is None
    store.write(lambda connection: connection.execute("SELECT 1"))
    store.close()  # the last connection folds the log of changes into the file
    assert not [file for file in tmp_path.iterdir() if secret.encode() in file.read_bytes()]


def test_a_cancel_erases_the_secrets_too(store: Store) -> None:
    transitions.cancel(store, schedule(store, secrets={"password": "x"}))
    assert store.read("SELECT secrets FROM actions")[0][0] is None


def test_seq_is_never_reused_even_after_all_actions_were_pruned(store: Store) -> None:
    for _ in range(3):
        schedule(store)
        finish(store)
    assert retention.prune(store, 0, 10) == 3
    schedule(store)
    assert claim(store).action.seq == 4


def test_the_id_of_a_resource_is_permanent(store: Store) -> None:
    for name in ("a", "b", "a"):
        schedule(store, resource=("Database", name))
        finish(store)
    retention.prune(store, 0, 10)
    schedule(store, resource=("Database", "a"))
    rows = store.read("SELECT resource_id, type, name FROM actions JOIN resources ON resources.id = resource_id")
    assert [tuple(row) for row in rows] == [(1, "Database", "a")]
    assert "FOREIGN KEY" in broken(store, "DELETE FROM resources WHERE name = 'a'")


@pytest.mark.parametrize("column", ["args", "headers", "state_payload", "secrets"])
def test_column_of_json_refuses_other_text(store: Store, column: str) -> None:
    schedule(store)
    assert "CHECK" in broken(store, f"UPDATE actions SET {column} = 'no json', version = version + 1")  # noqa: S608


def test_unknown_channel_is_refused(store: Store) -> None:
    schedule(store)
    assert "CHECK" in broken(store, "UPDATE actions SET requester = 'FAX'")
