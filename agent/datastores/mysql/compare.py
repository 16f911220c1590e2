"""Compare a copy with its source: the list of objects, and the row counts of unchanged tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.datastores.base import DatastoreError
from agent.datastores.mysql import databases, dump, events, position as mysql_position
from agent.datastores.mysql.incomplete_mark import MARK, MARK_ACCOUNT
from agent.datastores.mysql.session import Session

OBJECTS = (
    "SELECT 'database' AS kind, schema_name AS db, '' AS name FROM information_schema.schemata",
    "SELECT LOWER(table_type), table_schema, table_name FROM information_schema.tables",
    "SELECT LOWER(routine_type), routine_schema, routine_name FROM information_schema.routines",
    "SELECT 'trigger', trigger_schema, trigger_name FROM information_schema.triggers",
)
TABLES = (
    "SELECT table_schema AS db, table_name AS name, table_type AS kind, data_length AS size, update_time AS changed, "
    "update_time < NOW() - INTERVAL 1 SECOND AS settled FROM information_schema.tables "
    "WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
)
COUNTED = 1 << 30
"""Maximum bytes of tables whose rows are counted, the smallest first: a count reads the whole table."""
COUNT = "SELECT COUNT(*) FROM {}.{}"
COUNT_HISTORY = "SELECT COUNT(*) FROM {}.{} FOR SYSTEM_TIME ALL"
NAMED = 5
Table = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The objects and tables of a server at one moment."""

    objects: frozenset[str]
    tables: dict[Table, dict[str, Any]]
    position: str


def take(session: Session) -> Inventory:
    """Read the inventory of a server. Raises `DatastoreError`."""
    if session.dialect.product == "MySQL":
        session.run("SET SESSION information_schema_stats_expiry = 0")
    rows = session.run(" UNION ALL ".join([*OBJECTS, events.LISTED[session.dialect.product]]))
    own = [row for row in rows if not _of_the_server(row["db"])]
    objects = {" ".join(filter(None, (row["kind"], ".".join(filter(None, (row["db"], row["name"])))))) for row in own}
    accounts = {
        f"account {row['user']}@{row['host']}"
        for row in session.run(session.dialect.users)
        if (row["user"], row["host"]) != MARK_ACCOUNT
    }
    tables = {(row["db"], row["name"]): row for row in session.run(TABLES) if not _of_the_server(row["db"])}
    return Inventory(frozenset(objects | accounts), tables, mysql_position.applied(session))


def check(source: Session, copy: Session, before: Inventory) -> dict[str, Any]:
    """Compare; returns the compared amounts. Raises `DatastoreError` if the copy has fewer or more objects or rows.

    `before` is the source's state before the copy began: objects that changed since are not compared.
    """
    after, made = take(source), take(copy)
    left_out = {f"view {each}" for each in dump.invalid_views(source)}
    lacking = (before.objects & after.objects) - made.objects - left_out
    surplus = made.objects - before.objects - after.objects
    if lacking or surplus:
        raise DatastoreError(_difference(lacking, surplus))
    tables = _unchanged(before, after)
    for table in tables:
        versioned = after.tables[table]["kind"] == "SYSTEM VERSIONED"
        _check_rows(source, copy, table, versioned=versioned)
    lacks = sorted(left_out - made.objects)
    return {"objects": len(made.objects), "rows_of_tables": len(tables), "left_out": lacks}


def _unchanged(before: Inventory, after: Inventory) -> list[Table]:
    """Tables, up to `COUNTED` bytes, without a write between the two. A table without a time of change is excluded."""
    still = before.position == after.position
    chosen, size = [], 0
    for table, row in sorted(after.tables.items(), key=lambda item: item[1]["size"] or 0):
        earlier = before.tables.get(table)
        if earlier is None or earlier["kind"] != row["kind"]:
            continue
        if not still and not (earlier["settled"] and earlier["changed"] == row["changed"]):
            continue
        size += int(row["size"] or 0)
        if size > COUNTED:
            break
        chosen.append(table)
    return chosen


def _check_rows(source: Session, copy: Session, table: Table, *, versioned: bool) -> None:
    statement = COUNT_HISTORY if versioned else COUNT
    there, here = (int(session.run(statement, names=table)[0]["COUNT(*)"]) for session in (source, copy))
    if there != here:
        raise DatastoreError(f"the copy has {here} rows of {'.'.join(table)}, its source has {there}")


def _of_the_server(database: str) -> bool:
    return databases.is_system(database) or database == MARK


def _difference(lacking: Iterable[str], surplus: Iterable[str]) -> str:
    parts = []
    for verb, names in (("lacks", sorted(lacking)), ("has more than its source", sorted(surplus))):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            parts.append(f"{verb}: {', '.join(names[:NAMED])}{more}")
    return f"the copy {'; '.join(parts)}"
