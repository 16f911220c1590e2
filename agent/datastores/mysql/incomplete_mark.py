"""Mark a server whose data is incomplete or not proved yet."""

from __future__ import annotations

from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import databases
from agent.datastores.mysql.session import Session

MARK = "agent_resync_incomplete"
"""The database that exists while the data is incomplete. A dump does not contain it."""
MARK_ACCOUNT = ("agent_resync_incomplete", "255.255.255.255")
"""The account with the same meaning: a clone drops all databases first and replaces the accounts last."""


def check_whole(session: Session) -> None:
    """Raises `DatastoreRefused` if the data is incomplete: neither reads nor writes may rely on it."""
    if is_marked(session):
        raise DatastoreRefused(f"{session.where} is incomplete: its last resync did not finish")


def is_marked(session: Session) -> bool:
    if databases.exists(session, MARK):
        return True  # the accounts may not be readable now
    user, host = MARK_ACCOUNT
    return {"user": user, "host": host} in session.run(session.dialect.users)


def mark(session: Session) -> None:
    session.run("CREATE DATABASE IF NOT EXISTS {}", names=[MARK])
    session.run("CREATE USER IF NOT EXISTS %s@%s ACCOUNT LOCK", *MARK_ACCOUNT)


def mark_copy(session: Session) -> None:
    """Mark a copy that does not follow yet, if accounts cannot be changed."""
    session.run("CREATE DATABASE IF NOT EXISTS {}", names=[MARK])


def unmark(session: Session) -> None:
    session.run("DROP USER IF EXISTS %s@%s", *MARK_ACCOUNT)
    session.run("DROP DATABASE IF EXISTS {}", names=[MARK])
