"""Migrates a database to the schema of this agent, or back: numbered `.sql` files, one transaction each."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from agent import clock
from agent.errors import StoreUnusable

ONLY_ADDS = "Only adds."
"""In the first line of a step: agents that know only the schema before it may use the file too."""


@dataclass(frozen=True)
class Migration:
    """One step of the schema; `number` becomes the file's `user_version`. `down` reverts it; empty: not possible."""

    number: int
    name: str
    sql: str
    down: str = ""

    @property
    def only_adds(self) -> bool:
        """Whether agents of the schema before can use the database after this step."""
        return ONLY_ADDS in self.sql.partition("\n")[0]


@cache
def migrations() -> tuple[Migration, ...]:
    """Every step, in order. Cached, as each new connection needs the steps."""
    folder = resources.files("agent.store") / "migrations"
    files = {file.name: file.read_text() for file in folder.iterdir() if file.name.endswith(".sql")}
    return tuple(
        Migration(int(name[:4]), name, files[name], files.get(name.replace(".sql", ".down.sql"), ""))
        for name in sorted(files)
        if not name.endswith(".down.sql")
    )


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Apply the steps that the database does not have.

    Raises `StoreUnusable` for a database of a newer agent, `sqlite3.Error` if a step fails; that step is rolled back.
    """
    refuse_newer(connection, steps)
    for step in steps:
        if version(connection) < step.number:
            _apply(connection, step)


def downgrade(connection: sqlite3.Connection, steps: Sequence[Migration], target: int) -> list[Migration]:
    """Revert the steps after schema `target`, the newest first; returns them.

    Raises `StoreUnusable`: before any change if a step cannot be reverted, and for a step that would lose waiting
    actions; that step is rolled back.
    """
    refuse_newer(connection, steps)
    found = version(connection)
    undone = [step for step in reversed(steps) if target < step.number <= found]
    if final := next((step for step in undone if not step.down), None):
        raise StoreUnusable(f"schema {final.number} has no way back to schema {final.number - 1}")
    for step in undone:
        _revert(connection, step)
    return undone


def refuse_newer(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Raises `StoreUnusable` for a schema that agents with `steps` cannot use."""
    newest = steps[-1].number
    found = version(connection)
    if found > newest and needs(connection) > newest:
        raise StoreUnusable(
            f"the database has schema {found}, written by a newer agent; this one knows up to {newest}: "
            f"start the newer agent, run its agentctl db downgrade {newest}, or set agent.db to another file"
        )


def needs(connection: sqlite3.Connection) -> int:
    """The oldest schema version whose agents can use the database."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schemas'").fetchone():
        return version(connection)
    row = connection.execute("SELECT needs FROM schemas WHERE number = ?", (version(connection),)).fetchone()
    return version(connection) if row is None else int(row[0])


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises `StoreUnusable` for a database that another program made."""
    # One statement, so that it sees one state: another agent may be migrating the new file now.
    found = connection.execute(
        """
        SELECT (SELECT user_version FROM pragma_user_version) > 0, count(*) > 0, ifnull(sum(name = 'actions'), 0) > 0
        FROM sqlite_master
        """
    ).fetchone()
    if tuple(found) not in ((False, False, False), (True, True, True)):
        raise StoreUnusable("this is the database of another program: set agent.db to a file of the agent's own")


def version(connection: sqlite3.Connection) -> int:
    """The schema version of the database; 0: empty."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Checked again under the lock: another agent may have applied it since.
        if version(connection) < step.number:
            needed = needs(connection) if step.only_adds else step.number
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.number}")
            _note(connection, step, needed)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _note(connection: sqlite3.Connection, step: Migration, needed: int) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schemas'").fetchone():
        row = (step.number, step.name, needed, clock.now())
        connection.execute("INSERT INTO schemas (number, name, needs, applied_ts) VALUES (?, ?, ?, ?)", row)


def _revert(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(step.down):
            connection.execute(statement)
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schemas'").fetchone():
            connection.execute("DELETE FROM schemas WHERE number = ?", (step.number,))
        connection.execute(f"PRAGMA user_version = {step.number - 1}")
        connection.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        connection.execute("ROLLBACK")
        raise StoreUnusable(f"schema {step.number}: {str(error).partition(': ')[2]}") from None
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> Iterator[str]:
    # Not executescript: it commits the open transaction first, and so half a step.
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
