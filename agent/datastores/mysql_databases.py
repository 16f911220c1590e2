"""The databases of one MySQL or MariaDB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql_session import Row, Session
from agent.models import Json

SYSTEM = ("mysql", "information_schema", "performance_schema", "sys")
WORDS = {"charset": " CHARACTER SET %s", "collation": " COLLATE %s"}


def is_system(name: str) -> bool:
    """In whatever case: on some file systems, and for some of them always, that makes no difference."""
    return name.lower() in SYSTEM


def names(session: Session) -> list[str]:
    return [str(row["name"]) for row in session.run("SELECT schema_name AS name FROM information_schema.schemata")]


def exists(session: Session, name: str) -> bool:
    """Compared here: the server's own comparison takes no account of case, nor of spaces at the end."""
    return _find(session, name) is not None


def create(session: Session, name: str, options: Mapping[str, str]) -> Json:
    words = "".join(WORDS[option] for option in WORDS if option in options)
    values = [options[option] for option in WORDS if option in options]
    session.run(f"CREATE DATABASE {{}}{words}", *values, names=[name])
    [created] = session.run("SHOW CREATE DATABASE {}", names=[name])
    return {"definition": created["Create Database"]}


def delete(session: Session, name: str, *, force: bool, patience: float) -> Json:
    """`patience` is for how many seconds to wait for those who hold its tables."""
    users = connections(session, database=name)
    if users and not force:
        raise DatastoreRefused(f"the database {name} is in use by {len(users)} connections; force ends them")
    end(session, users)
    session.wait_at_most(patience)
    session.run("DROP DATABASE {}", names=[name])
    return {"connections_ended": len(users)}


def connections(session: Session, **wanted: str) -> list[Row]:
    """The other connections whose `user` or `database` is this."""
    columns = {"user": "User", "database": "db"}
    return [
        row
        for row in session.run("SHOW PROCESSLIST")
        if row["Id"] != session.id and all(row[columns[column]] == value for column, value in wanted.items())
    ]


def end(session: Session, connections: Iterable[Row]) -> None:
    for row in connections:
        with suppress(DatastoreRefused):  # it ended by itself meanwhile; who stays holds up what follows
            session.run("KILL %s", row["Id"])


def _find(session: Session, name: str) -> str | None:
    folds = bool(session.value("SELECT @@lower_case_table_names"))
    wanted = name.lower() if folds else name
    return next((each for each in names(session) if (each.lower() if folds else each) == wanted), None)
