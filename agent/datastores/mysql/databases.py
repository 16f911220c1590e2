"""Create, delete and inspect the databases of one MySQL or MariaDB, with the plans for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from agent.datastores.base import DatastoreRefused, agreed
from agent.datastores.mysql import files as mysql_files
from agent.datastores.mysql.session import Row, ServerRefused, Session
from agent.models import Json
from agent.plan import Discard, Plan, Would, refuse

SYSTEM = ("mysql", "information_schema", "performance_schema", "sys")
WORDS = {"charset": " CHARACTER SET %s", "collation": " COLLATE %s"}
LONGEST_NAME = 64
FOREIGN_FILE = 1010
"""Error number: the directory of a database cannot be removed."""


def is_system(name: str) -> bool:
    """Whether the database belongs to the server. Case is ignored: on some file systems names are case-insensitive."""
    return name.lower() in SYSTEM


def names(session: Session) -> list[str]:
    return [str(row["name"]) for row in session.run("SELECT schema_name AS name FROM information_schema.schemata")]


def exists(session: Session, name: str) -> bool:
    """Whether the database exists. Names are compared here: the server ignores case and trailing spaces."""
    return find(session, name) is not None


def find(session: Session, name: str) -> str | None:
    """The name by which the server knows that database."""
    wanted = _folded(session, name)
    return next((each for each in names(session) if _folded(session, each) == wanted), None)


def plan_create(session: Session, name: str, options: Mapping[str, str]) -> Plan:
    if exists(session, name):
        return refuse(f"the database {name} exists already", "choose another name, or delete it first")
    if len(name) > LONGEST_NAME or name.endswith(" ") or "\0" in name:
        return refuse(
            f"the server refuses this name: at most {LONGEST_NAME} characters, no space at the end, no NUL",
            "choose another",
        )
    if (wrong := _unknown_option(session, options)) is not None:
        return refuse(wrong, "name one that the server knows")
    return Plan(Would.CHANGE, f"the database {name} would be created", steps=[f"create the database {name}"])


def create(session: Session, name: str, options: Mapping[str, str]) -> Json:
    agreed(plan_create(session, name, options))
    words = "".join(WORDS[option] for option in WORDS if option in options)
    values = [options[option] for option in WORDS if option in options]
    session.run(f"CREATE DATABASE {{}}{words}", *values, names=[name])
    [created] = session.run("SHOW CREATE DATABASE {}", names=[name])
    return {"definition": created["Create Database"]}


def plan_delete(session: Session, name: str, *, force: bool) -> Plan:
    """What `delete` would do; refused if a foreign file would make it fail after some tables are deleted."""
    if is_system(name):
        return refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
    if (found := find(session, name)) is None:
        return refuse(f"no database is called {name}", "check the name")
    warnings = []
    try:
        if foreign := mysql_files.foreign(session, found):
            return _refuse_foreign(found, foreign)
    except mysql_files.DirectoryUnreadable as error:
        warnings.append(f"it is unknown whether the server can delete all files: {error}")
    users = len(connections(session, database=found))
    if users and not force:
        return refuse(f"the database {name} is in use by {users} connections", "force ends them")
    tables, size = _size(session, found)
    return Plan(
        Would.DESTROY,
        f"the database {name} and all its data would be deleted",
        steps=[*([f"end {users} connections"] if users else []), f"delete the database {name}"],
        discards=[Discard(f"the database {found}", size, "bytes")],
        warnings=warnings,
        facts={"tables": tables, "bytes": size, "connections": users},
    )


def delete(session: Session, name: str, *, force: bool, patience: float) -> Json:
    """End the connections and drop the database. `patience`: seconds to wait for locks on its tables."""
    agreed(plan_delete(session, name, force=force))
    found = find(session, name) or name
    users = connections(session, database=found)
    tables = _tables(session, found)
    end(session, users)
    session.wait_at_most(patience)
    try:
        session.run("DROP DATABASE {}", names=[found])
    except ServerRefused as error:
        if error.number != FOREIGN_FILE:
            raise
        raise DatastoreRefused(_half_deleted(session, found, tables, error)) from None
    return {"connections_ended": len(users)}


def connections(session: Session, *, user: str | None = None, database: str | None = None) -> list[Row]:
    """The other connections of this user or to this database."""
    wanted = None if database is None else _folded(session, database)
    return [
        row
        for row in session.run("SHOW PROCESSLIST")
        if row["Id"] != session.id
        and user in (None, row["User"])
        and (wanted is None or (row["db"] is not None and _folded(session, row["db"]) == wanted))
    ]


def end(session: Session, connections: Iterable[Row]) -> None:
    for row in connections:
        with suppress(DatastoreRefused):  # it has ended by itself; a remaining one would block the next statement
            session.run("KILL %s", row["Id"])


def _refuse_foreign(name: str, files: list[str]) -> Plan:
    more = f" and {len(files) - mysql_files.SHOWN} more" if len(files) > mysql_files.SHOWN else ""
    shown = ", ".join(files[: mysql_files.SHOWN])
    return refuse(
        f"the directory of the database {name} contains foreign files: {shown}{more}",
        "move them away: the server would delete the tables and then fail on these files",
        facts={"foreign_files": files},
    )


def _half_deleted(session: Session, name: str, before: set[str], error: ServerRefused) -> str:
    """The error with the deleted and the remaining tables, read from the server."""
    left = _tables(session, name)
    if before == left:
        return f"{error}; nothing was deleted: move the foreign files out of its directory"
    gone = ", ".join(sorted(before - left))
    return (
        f"{error}; these tables of {name} are gone: {gone}; {len(left)} are left; move the foreign files out of its "
        "directory and delete the database again"
    )


def _unknown_option(session: Session, options: Mapping[str, str]) -> str | None:
    charset, collation = options.get("charset"), options.get("collation")
    charsets = {str(row["Charset"]) for row in session.run("SHOW CHARACTER SET")}
    collations = {str(row["Collation"]): row["Charset"] for row in session.run("SHOW COLLATION")}
    if charset is not None and charset.lower() not in charsets | {"utf8"}:
        return f"Unknown character set: '{charset}'"
    if collation is not None and collation.lower() not in collations:
        return f"Unknown collation: '{collation}'"
    return None


def _tables(session: Session, name: str) -> set[str]:
    rows = session.run("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = %s", name)
    return {str(row["name"]) for row in rows}


def _size(session: Session, name: str) -> tuple[int, int]:
    """Number of tables and bytes, without the server's cached statistics."""
    if session.dialect.product == "MySQL":
        session.run("SET SESSION information_schema_stats_expiry = 0")
    [row] = session.run(
        "SELECT COUNT(*) AS tables, CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED) AS bytes "
        "FROM information_schema.tables WHERE table_schema = %s",
        name,
    )
    return int(row["tables"]), int(row["bytes"])


def _folded(session: Session, name: str) -> str:
    """The name in lower case if the server compares names without case."""
    return name.lower() if session.folds_names else name
