"""The users of one MySQL or MariaDB: whoever has the name, from whatever host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.datastores import mysql_databases
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mysql_session import Session
from agent.models import Json

ANYWHERE = "%"
UNFINISHED = "255.255.255.255"
"""The host of an account whose grants are not all there yet: no client can come from it."""

OF_THE_SERVER = ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys")

MAY = {
    "readonly": "SELECT, SHOW VIEW",
    "readwrite": "SELECT, SHOW VIEW, INSERT, UPDATE, DELETE, EXECUTE, LOCK TABLES, CREATE TEMPORARY TABLES",
    "owner": "ALL PRIVILEGES",
}

DEFINED = (
    "SELECT 'view' AS kind, table_schema AS db, table_name AS name, definer AS definer FROM information_schema.views",
    "SELECT LOWER(routine_type), routine_schema, routine_name, definer FROM information_schema.routines",
    "SELECT 'trigger', trigger_schema, trigger_name, definer FROM information_schema.triggers",
    "SELECT 'event', event_schema, event_name, definer FROM information_schema.events",
)
SHOWN = 20
"""How many of what a user defined a refusal names."""


def exists(session: Session, name: str) -> bool:
    """Whether a finished account has that name; one that an interrupted creation left has not."""
    return any(host != UNFINISHED for host in hosts(session, name))


def hosts(session: Session, name: str) -> list[str]:
    """Compared here, as the server's own comparison takes no account of spaces at the end."""
    return [str(row["host"]) for row in _accounts(session) if row["user"] == name]


def create(session: Session, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
    """Prepare the account where nobody can use it, then give it its own host in one statement."""
    _check_databases(session, databases)
    if exists(session, name):
        raise DatastoreRefused(f"the user {name} exists already")
    with _draft(session, name, password):
        for database in databases:
            session.run(f"GRANT {MAY[privileges]} ON {{}}.* TO %s@%s", name, UNFINISHED, names=[pattern(database)])
        session.run("RENAME USER %s@%s TO %s@%s", name, UNFINISHED, name, ANYWHERE)
    return {"account": f"{name}@{ANYWHERE}", "databases": list(databases), "privileges": privileges}


def delete(session: Session, name: str) -> Json:
    """Delete all accounts of that name and end their connections; refused while something runs in their name."""
    accounts = hosts(session, name)
    _check_deletable(session, name, accounts)
    where = ", ".join(["%s@%s"] * len(accounts))
    session.run(f"DROP USER {where}", *(each for host in accounts for each in (name, host)))
    # A deleted user keeps the connections it has, and what it may do there.
    left = mysql_databases.connections(session, user=name)
    mysql_databases.end(session, left)
    deleted = [f"{name}@{host}" for host in accounts if host != UNFINISHED]
    return {"accounts": deleted, "connections_ended": len(left)}


def pattern(database: str) -> str:
    """The database alone: a GRANT takes `_` and `%` in its name for wildcards."""
    return re.sub(r"([\\_%])", r"\\\1", database)


@contextmanager
def _draft(session: Session, name: str, password: str) -> Iterator[None]:
    """An account to complete; dropped where that fails, and before, where an interruption left one."""
    session.run("DROP USER IF EXISTS %s@%s", name, UNFINISHED)
    session.run("CREATE USER %s@%s IDENTIFIED BY %s", name, UNFINISHED, password, secret=password)
    try:
        yield
    except DatastoreError:
        session.run("DROP USER IF EXISTS %s@%s", name, UNFINISHED)
        raise


def _check_databases(session: Session, databases: Sequence[str]) -> None:
    for database in databases:
        if mysql_databases.is_system(database):
            raise DatastoreRefused(f"{database} belongs to the server, no user is given it")
        if not mysql_databases.exists(session, database):
            raise DatastoreRefused(f"there is no database {database}")


def _check_deletable(session: Session, name: str, accounts: Sequence[str]) -> None:
    if not accounts:
        raise DatastoreRefused(f"there is no user {name}")
    if name in OF_THE_SERVER:
        raise DatastoreRefused(f"the user {name} belongs to the server and is not deleted")
    if str(session.value("SELECT CURRENT_USER()")).rpartition("@")[0] == name:
        raise DatastoreRefused(f"the user {name} is the agent's own")
    if defined := _defined_by(session, {f"{name}@{host}" for host in accounts}):
        more = f" and {len(defined) - SHOWN} more" if len(defined) > SHOWN else ""
        raise DatastoreRefused(
            f"the user {name} is the definer of {', '.join(defined[:SHOWN])}{more}: "
            "delete these or give them another definer first"
        )


def _defined_by(session: Session, definers: set[str]) -> list[str]:
    rows = session.run(" UNION ALL ".join(DEFINED))
    return sorted(f"{row['kind']} {row['db']}.{row['name']}" for row in rows if row["definer"] in definers)


def _accounts(session: Session) -> list[dict[str, object]]:
    return session.run(session.dialect.users)
