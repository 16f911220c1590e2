"""Read replication filters: a server with filters has its source's GTIDs but not all of its data."""

from __future__ import annotations

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.session import Row, Session

COLUMNS = (
    "Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table", "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table",
)  # fmt: skip
NAMES = {each.lower() for each in COLUMNS}
GLOBAL = {
    "MySQL": (
        "SELECT filter_name AS name, filter_rule AS value FROM performance_schema.replication_applier_global_filters"
    ),
    "MariaDB": "SELECT variable_name AS name, variable_value AS value FROM information_schema.global_variables",
}
"""The filters of a server, also without a source."""


def of(session: Session) -> str | None:
    """The filters as one text; None if the agent's user sees none."""
    found = {name.lower(): str(row[name]) for row in session.replica_status() for name in COLUMNS if row.get(name)}
    found |= {
        str(row["name"]).lower(): str(row["value"])
        for row in _global(session)
        if row["value"] and str(row["name"]).lower() in NAMES
    }
    return ", ".join(f"{name} = {value}" for name, value in sorted(found.items())) or None


def _global(session: Session) -> list[Row]:
    try:
        return session.run(GLOBAL["MySQL" if session.dialect.product == "MySQL" else "MariaDB"])
    except DatastoreError:
        return []
