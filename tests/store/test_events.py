"""The audit trail: written by triggers, chained by hashes, pruned only from its oldest end."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.models import State
from agent.store import Store, audit_events, retention, transitions
from agent.store.audit_chain import chained, faults
from agent.store.audit_tail import Unseen
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, schedule

DAY = 24 * 3600


def trail(store: Store) -> list[dict[str, Any]]:
    return audit_events.after(store, 0, 10_000)


def event_names(store: Store) -> list[tuple[str, str | None]]:
    return [(event["event"], event["action_id"]) for event in trail(store)]


def broken(store: Store) -> list[str]:
    return [fault for _, fault in faults(trail(store)) if fault]


def test_audit_trail_has_the_life_of_an_action_and_outlives_it(store: Store) -> None:
    one = schedule(store, "deploy", {"git_ref": "main"})
    finish(store)
    two = schedule(store)
    transitions.cancel(store, two, user="dba@example.com")
    assert retention.prune(store, 0, 10) == 2
    assert event_names(store) == [
        ("audit.begun", None),
        ("action.scheduled", one), ("action.started", one), ("action.final", one),
        ("action.scheduled", two), ("action.cancel_requested", two), ("action.final", two),
    ]  # fmt: skip
    _, scheduled, started, final, _, cancelled, _ = trail(store)
    assert (scheduled["user"], scheduled["requester"], scheduled["kind"]) == ("a@b", "API", "deploy")
    assert scheduled["details"] == {"async_action_id": 1, "args": {"git_ref": "main"}}
    assert started["details"] == {}
    assert final["details"] == {"state": "DONE", "message": "over"}
    assert (cancelled["user"], cancelled["details"]) == ("dba@example.com", {"state": "NEW"})
    assert broken(store) == []


def test_audit_trail_has_no_secrets_and_leaves_out_long_arguments(store: Store) -> None:
    schedule(store, args={"password": "********"}, secrets={"password": "correct horse"})
    schedule(store, args={"x": "a" * 5000})
    assert "correct horse" not in json.dumps(trail(store))
    assert trail(store)[-1]["details"]["args"] == {"left_out": {"bytes": len('{"x":""}') + 5000}}


@pytest.mark.parametrize(
    "text", ["\u00e4\U0001f512", "\x1b[2J\n", "\ud800", '"quoted"', "\x00", 1e300, 2**70, None, -0.0]
)
def test_hash_chain_is_valid_for_any_text(store: Store, text: Any) -> None:
    schedule(store, args={"z": text, "a": [text]})
    claimed = claim(store)
    transitions.finish(store, claimed.action.seq, State.FAILED, None, f"{text}"[:20], claim_next=False)
    assert broken(store) == []


def raw(store: Store) -> sqlite3.Connection:
    """A connection of another program, without the triggers of the schema."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    for name in ("events_never_change", "events_end_at_the_oldest", "events_newest_never_deleted"):
        connection.execute(f"DROP TRIGGER {name}")
    return connection


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("UPDATE events SET user = 'another@b' WHERE id = 3", "event 3 was changed"),
        ("UPDATE events SET details = '{}' WHERE id = 2", "event 2 was changed"),
        ("DELETE FROM events WHERE id = 3", "event 4 does not follow event 2"),
        ("UPDATE events SET id = 99 WHERE id = 4", "event 99 was changed"),
    ],
)
def test_change_of_an_event_by_another_program_is_found(store: Store, sql: str, found: str) -> None:
    schedule(store)
    finish(store)
    with closing(raw(store)) as connection:
        connection.execute(sql)
    assert broken(store)[0].startswith(found)


@pytest.mark.parametrize(
    "sql",
    ["UPDATE events SET user = 'x' WHERE id = 2", "DELETE FROM events WHERE id = 2",
     "DELETE FROM events WHERE id = (SELECT max(id) FROM events)"],
)  # fmt: skip
def test_the_schema_refuses_changes(store: Store, sql: str) -> None:
    schedule(store)
    finish(store)
    before = trail(store)
    with pytest.raises(sqlite3.IntegrityError):
        store.write(lambda connection: connection.execute(sql))
    assert trail(store) == before


def missing(store: Store, since: int = 0) -> str:
    with store.snapshot() as connection:
        unseen = Unseen(connection)
    list(unseen.among(audit_events.after(store, since, 10_000)))
    return unseen.fault()


def test_a_removal_of_the_newest_events_is_found_by_the_actions_that_are_kept(store: Store) -> None:
    schedule(store)
    finish(store)
    two = schedule(store)
    finish(store)
    assert (missing(store), missing(store, 4)) == ("", "")
    with closing(raw(store)) as connection:
        connection.execute("DELETE FROM events WHERE id = (SELECT max(id) FROM events)")
    assert broken(store) == []
    assert missing(store) == f"there is no event action.final of action {two}: events were removed"
    schedule(store)
    assert broken(store) == []
    assert missing(store), "also after others were added"


def test_events_that_were_pruned_are_not_missing(store: Store) -> None:
    for _ in range(3):
        schedule(store)
        finish(store)
    assert audit_events.prune(store, 400 * DAY, 4) == 6
    assert missing(store) == ""


def test_event_is_rolled_back_with_its_transaction(store: Store) -> None:
    def work(connection: sqlite3.Connection) -> None:
        audit_events.add(connection, "agent.started", {})
        raise ValueError

    schedule(store)
    before = trail(store)
    with pytest.raises(ValueError):
        store.write(work)
    assert trail(store) == before


def age(store: Store, older: int, seconds: int) -> None:
    """Make the oldest events that old."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_never_change")
        timestamp = clock.now() - seconds * 1_000_000
        connection.execute("UPDATE events SET timestamp = ? WHERE id <= ?", (timestamp, older))


def test_events_older_than_configured_are_pruned_from_the_oldest_on(store: Store) -> None:
    for _ in range(4):
        schedule(store)
    age(store, 3, 400 * DAY + 60)
    assert audit_events.prune(store, 400 * DAY, 1000) == 3
    assert [event["id"] for event in trail(store)] == [4, 5]
    assert audit_events.prune(store, 400 * DAY, 1000) == 0
    schedule(store)
    assert broken(store) == []


def test_newest_event_is_kept_at_any_age(store: Store) -> None:
    for _ in range(3):
        schedule(store)
    age(store, 4, 500 * DAY)
    assert audit_events.prune(store, 400 * DAY, 1000) == 3
    schedule(store)
    assert [event["id"] for event in trail(store)] == [4, 5]


def test_events_beyond_the_configured_number_are_pruned(store: Store) -> None:
    for _ in range(9):
        schedule(store)
    assert audit_events.prune(store, 400 * DAY, 4) == 6
    assert [event["id"] for event in trail(store)] == [7, 8, 9, 10]


def test_migration_of_an_older_file_begins_its_audit_trail(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as old:
        migrate(old, migrations()[:5])
        old.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
        old.execute("""
            INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, created_ts, scheduled_ts,
                                 state, state_ts)
            VALUES ('old', 'test', '{}', '{}', 'API', 'a@b', 1, 1, 1, 'NEW', 1)
        """)
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
        finish(store)
        assert event_names(store) == [("audit.begun", None), ("action.started", "old"), ("action.final", "old")]
        assert broken(store) == []


def test_hash_of_an_event_is_as_documented() -> None:
    import hashlib

    text = '["p",7,"1970-01-01T00:00:01Z","e",null,"API",null,"id",{"a":"\\u00e4","b":1}]'
    wanted = hashlib.sha256(text.encode()).hexdigest()
    assert chained("p", 7, 1_999_999, "e", None, "API", None, "id", '{"b": 1, "a": "\u00e4"}') == wanted
