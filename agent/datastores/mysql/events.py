"""Disable the events of a copy as replication would: events run only on the primary."""

from __future__ import annotations

from agent.datastores.mysql.session import Row, Session

LISTED = {
    "MySQL": "SELECT 'event' AS kind, event_schema AS db, event_name AS name FROM information_schema.events",
    "MariaDB": "SELECT 'event' AS kind, db AS db, name AS name FROM mysql.event",
}
"""MariaDB's own table, because information_schema lists no events while the accounts are not loaded."""
ENABLED = (
    "SELECT event_schema AS db, event_name AS name, definer AS definer, sql_mode AS sql_mode, "
    "time_zone AS time_zone FROM information_schema.events WHERE status = 'ENABLED'"
)
DISABLE_ALL = "UPDATE mysql.event SET status = 'SLAVESIDE_DISABLED', originator = %s WHERE status = 'ENABLED'"


def disable(session: Session, primary_id: int) -> None:
    """Disable all events of the copy."""
    if session.dialect.product == "MySQL":
        for row in session.run(ENABLED):
            _alter(session, row)
    else:
        session.run(DISABLE_ALL, primary_id)


def _alter(session: Session, row: Row) -> None:
    """Disable one event under its own settings, which the statement would replace by the session's."""
    user, _, host = str(row["definer"]).rpartition("@")
    session.run("SET SESSION sql_mode = %s, time_zone = %s", row["sql_mode"], row["time_zone"])
    names = [user, host, row["db"], row["name"]]
    session.run("ALTER DEFINER = {}@{} EVENT {}.{} DISABLE ON SLAVE", names=names)
