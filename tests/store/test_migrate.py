"""A step of the schema is applied completely or not at all, and only by an agent that knows it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StoreUnusable
from agent.store import Store
from agent.store.audit_chain import chained
from agent.store.migrate import Migration, migrate, migrations, version
from tests.store.scenes import schedule

OUTCOMES = 7
FIRST = Migration(1, "0001_first.sql", "CREATE TABLE a (x);\n-- why\nINSERT INTO a VALUES (1);\n")
SECOND = Migration(
    2,
    "0002_second.sql",
    """ALTER TABLE a ADD COLUMN y DEFAULT 2;
CREATE TRIGGER t AFTER INSERT ON a
BEGIN
    UPDATE a SET y = 3 WHERE x = NEW.x;
    DELETE FROM a WHERE x = 0;
END;
INSERT INTO a (x) VALUES (5);
""",
)
FAILING = Migration(
    2, "0002_failing.sql", "ALTER TABLE a ADD COLUMN z;\nINSERT INTO a VALUES (8, 8);\nDROP TABLE no;\n"
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(tmp_path / "agent.db", isolation_level=None)
    yield made
    made.close()


def rows(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM a").fetchall()


def test_migration_of_an_old_file_keeps_its_rows(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    assert (version(connection), rows(connection)) == (1, [(1,)])
    migrate(connection, [FIRST, SECOND])
    assert (version(connection), rows(connection)) == (2, [(1, 2), (5, 3)])


def test_new_file_gets_each_migration_once(connection: sqlite3.Connection) -> None:
    for _ in range(2):
        migrate(connection, [FIRST, SECOND])
    assert (version(connection), rows(connection)) == (2, [(1, 2), (5, 3)])


def test_failed_migration_leaves_the_schema_of_the_previous_version(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table: no"):
        migrate(connection, [FIRST, FAILING])
    assert (version(connection), rows(connection)) == (1, [(1,)])
    assert not connection.in_transaction
    migrate(connection, [FIRST, SECOND])
    assert version(connection) == 2


def test_step_without_a_last_semicolon_is_applied_whole(connection: sqlite3.Connection) -> None:
    migrate(connection, [Migration(1, "0001.sql", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1)")])
    assert rows(connection) == [(1,)]


def test_a_file_of_a_newer_agent_is_refused_with_a_sentence(store: Store) -> None:
    schedule(store)
    newest = migrations()[-1].number
    store.write(lambda connection: connection.execute("SELECT 1"))
    other = sqlite3.connect(store.path)
    other.execute(f"PRAGMA user_version = {newest + 1}")
    other.close()
    newcomer = Store(store.path)
    with pytest.raises(StoreUnusable) as caught:
        newcomer.open()
    message = str(caught.value)
    assert str(store.path) in message
    assert f"schema {newest + 1}" in message
    assert f"up to {newest}" in message
    assert "\n" not in message
    count = "SELECT count(*) FROM actions"
    assert store.write(lambda connection: connection.execute(count).fetchone()[0]) == 1, "it was not touched"


def test_the_steps_are_numbered_from_one_without_a_gap() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


def test_file_that_is_not_a_database_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"something of great value to somebody\n" * 200)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="not a database"):
        Store(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("state", "payload", "outcome"),
    [
        ("DONE", '{"cancelled": true}', "done"),
        ("FAILED", '{"cancelled": true}', "cancelled"),
        ("FAILED", '{"timed_out": true}', "timed_out"),
        ("FAILED", '{"interrupted": true}', "interrupted"),
        ("FAILED", '{"cancelled": "no"}', "failed"),
        ("FAILED", "[1]", "failed"),
        ("FAILED", None, "failed"),
    ],
)
def test_migration_reads_the_outcome_of_old_actions_from_their_payload(
    connection: sqlite3.Connection, state: str, payload: str | None, outcome: str
) -> None:
    connection.row_factory = sqlite3.Row
    connection.create_function("chained", 9, chained, deterministic=True)
    migrate(connection, [step for step in migrations() if step.number < OUTCOMES])
    connection.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
    connection.execute(
        "INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, created_ts, scheduled_ts, state,"
        " state_ts) VALUES ('a', 'k', '{}', '{}', 'API', 'a@b', 1, 1, 1, 'NEW', 1)"
    )
    connection.execute(
        "UPDATE actions SET state = ?, state_payload = ?, version = 2, finished_ts = 2, finished_order = 1",
        (state, payload),
    )
    migrate(connection, migrations())
    assert connection.execute("SELECT outcome FROM actions").fetchone()[0] == outcome
