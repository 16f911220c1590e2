"""The mark of a server whose data is not whole, or not proved yet."""

from __future__ import annotations

from agent.datastores import mysql_databases
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql_session import Session

MARK = "agent_resync_incomplete"
"""The database that is there while the data is not whole. What is read in from a dump leaves it alone."""
MARK_ACCOUNT = ("agent_resync_incomplete", "255.255.255.255")
"""Says the same: a clone drops all databases at its beginning and replaces the accounts at its end."""


def check_whole(session: Session) -> None:
    """Raise where the data is not whole: whoever relies on it, or writes to it, loses by that."""
    if is_marked(session):
        raise DatastoreRefused(f"{session.where} is not whole: its resync is incomplete")


def is_marked(session: Session) -> bool:
    if mysql_databases.exists(session, MARK):
        return True  # the accounts may not be there to be asked for
    user, host = MARK_ACCOUNT
    return {"user": user, "host": host} in session.run(session.dialect.users)


def mark(session: Session) -> None:
    session.run("CREATE DATABASE IF NOT EXISTS {}", names=[MARK])
    session.run("CREATE USER IF NOT EXISTS %s@%s ACCOUNT LOCK", *MARK_ACCOUNT)


def mark_copy(session: Session) -> None:
    """The mark of a copy that does not follow yet, where accounts cannot be changed."""
    session.run("CREATE DATABASE IF NOT EXISTS {}", names=[MARK])


def unmark(session: Session) -> None:
    session.run("DROP USER IF EXISTS %s@%s", *MARK_ACCOUNT)
    session.run("DROP DATABASE IF EXISTS {}", names=[MARK])
