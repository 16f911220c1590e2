"""Every step of the schema can be undone, and downgrade and upgrade lose no waiting action."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import StoreUnusable
from agent.store import Store, actions, transitions
from agent.store.audit_chain import chained
from agent.store.migrate import Migration, downgrade, migrate, migrations, needs, version
from tests.agent_process import CHECKOUT
from tests.store.scenes import claim, finish, ids, schedule

NEWEST = migrations()[-1].number
RELEASED = 2
"""The schema of version 0.1.0, the oldest target of a downgrade."""
ADDS = Migration(NEWEST + 1, "next.sql", "-- Next. Only adds.\nCREATE TABLE next (x);\n", "DROP TABLE next;\n")
CHANGES = Migration(NEWEST + 1, "next.sql", "-- Next.\nCREATE TABLE next (x);\n", "DROP TABLE next;\n")


def open_and_close(path: Path) -> None:
    """Bring the file to the schema of this version."""
    with closing(Store(path)) as store:
        store.open()


def opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_function("chained", 9, chained, deterministic=True)
    return connection


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """The definitions of all objects; columns that were added and removed leave no trace."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    return {name: " ".join(sql.replace('"', "").split()) for name, sql in rows}


@pytest.mark.parametrize("target", range(RELEASED, len(migrations())))
def test_downgrade_leaves_exactly_the_earlier_schema(tmp_path: Path, target: int) -> None:
    with closing(opened(tmp_path / "a")) as there, closing(opened(tmp_path / "b")) as back:
        migrate(there, [step for step in migrations() if step.number <= target])
        migrate(back, migrations())
        undone = downgrade(back, migrations(), target)
        assert [step.number for step in undone] == list(range(len(migrations()), target, -1))
        assert (version(back), schema(back)) == (target, schema(there))


def test_waiting_and_finished_actions_survive_a_downgrade_and_upgrade(store: Store) -> None:
    done = finish_one(store)
    waiting = [schedule(store, key=f"key-{number}") for number in range(20)]
    running = claim(store).action.id
    store.close()
    with closing(opened(store.path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        downgrade(connection, migrations(), RELEASED)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again = Store(store.path)
    again.open()
    assert ids(actions.queue(again)) == waiting
    assert ids(actions.finished(again, 10)) == [done]
    left = transitions.running(again)
    assert left is not None
    assert left.action.id == running
    assert schedule(again, key="key-3") == waiting[3]
    again.close()


def finish_one(store: Store) -> str:
    schedule(store)
    return finish(store)


def test_action_waiting_for_an_approval_blocks_the_downgrade_of_its_schema(store: Store) -> None:
    schedule(store, needs_approval=True)
    store.close()
    with closing(opened(store.path)) as connection:
        with pytest.raises(StoreUnusable, match=r"schema 8: actions wait for an approval, .*: cancel them"):
            downgrade(connection, migrations(), RELEASED)
        assert version(connection) == 8, "the steps after it were taken back, this one is whole"
    open_and_close(store.path)


def test_action_with_a_start_time_blocks_the_downgrade_of_its_schema(store: Store) -> None:
    schedule(store, not_before=1)
    store.close()
    with (
        closing(opened(store.path)) as connection,
        pytest.raises(StoreUnusable, match="schema 7: actions wait for a time"),
    ):
        downgrade(connection, migrations(), RELEASED)


def test_downgrade_past_a_step_without_down_is_refused_before_any_change(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "a")) as connection:
        migrate(connection, migrations())
        with pytest.raises(StoreUnusable, match="schema 2 has no way back to schema 1"):
            downgrade(connection, migrations(), 1)
        assert version(connection) == len(migrations())


def test_older_agent_uses_a_schema_to_which_a_newer_one_only_added(store: Store) -> None:
    action = schedule(store)
    with closing(opened(store.path)) as connection:
        needed = needs(connection)
        migrate(connection, [*migrations(), ADDS])
        assert (version(connection), needs(connection)) == (NEWEST + 1, needed)
    older = Store(store.path)
    older.open()
    assert finish(older) == action
    older.close()


def test_older_agent_refuses_a_changed_schema_and_names_the_downgrade(store: Store) -> None:
    schedule(store)
    with closing(opened(store.path)) as connection:
        migrate(connection, [*migrations(), CHANGES])
    with pytest.raises(StoreUnusable, match=f"run its agentctl db downgrade {NEWEST}"):
        Store(store.path).open()
    with closing(opened(store.path)) as connection:
        downgrade(connection, [*migrations(), CHANGES], NEWEST)
    open_and_close(store.path)


def test_copy_without_secrets_is_made_before_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    before = Store(path)
    schedule(before, secrets={"password": "battery-staple"})
    before.close()
    with closing(opened(path)) as connection:
        downgrade(connection, migrations(), NEWEST - 1)
    open_and_close(path)
    copy = tmp_path / f"agent.db.schema-{NEWEST - 1}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert b"battery-staple" not in copy.read_bytes()
    with closing(opened(copy)) as connection:
        assert version(connection) == NEWEST - 1
        assert connection.execute("SELECT state, secrets FROM actions").fetchall() == [("NEW", '"left out"')]
    assert {file.name for file in tmp_path.iterdir()} - {"agent.db-wal", "agent.db-shm"} == {"agent.db", copy.name}


def test_the_page_lists_every_schema_and_whether_it_only_adds() -> None:
    page = (CHECKOUT / "docs" / "database.rst").read_text(encoding="utf-8")
    for step in migrations():
        row = next(line for line in page.splitlines() if line.startswith(f"{step.number} "))
        assert ("only adds" in row) == step.only_adds, row
        assert bool(step.down) == (step.number > RELEASED)
