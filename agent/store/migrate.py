"""Brings a database to the schema of this agent: numbered `.sql` files, each applied whole or not at all."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from agent.errors import StoreUnusable


@dataclass(frozen=True)
class Migration:
    """One step of the schema; `number` becomes the file's `user_version`."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Every step, in order."""
    folder = resources.files("agent.store") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(int(file.name[:4]), file.name, file.read_text()) for file in files]


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Apply the steps that the database has not seen.

    Raises `StoreUnusable` for a database that a newer agent wrote, `sqlite3.Error` where a step fails:
    then the database is as it was before that step.
    """
    refuse_newer(connection, steps)
    for step in steps:
        if version(connection) < step.number:
            _apply(connection, step)


def refuse_newer(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    newest = steps[-1].number
    if (found := version(connection)) > newest:
        raise StoreUnusable(
            f"the database has schema {found}, written by a newer agent; this one knows up to {newest}: "
            "start the newer agent, or set agent.db to another file"
        )


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises `StoreUnusable` for a database that another program made."""
    # One statement, one moment: another agent may be migrating the new file just now.
    found = connection.execute(
        """
        SELECT (SELECT user_version FROM pragma_user_version) > 0, count(*) > 0, ifnull(sum(name = 'actions'), 0) > 0
        FROM sqlite_master
        """
    ).fetchone()
    if tuple(found) not in ((False, False, False), (True, True, True)):
        raise StoreUnusable("this is the database of another program: set agent.db to a file of the agent's own")


def version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another agent may have applied it since.
        if version(connection) < step.number:
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> Iterator[str]:
    # Not executescript: that one commits what is open first, and with it half a step.
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
