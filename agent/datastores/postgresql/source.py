"""Inspect the future source: its cluster, its WAL position, and whether it accepts replication."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import pq, sql

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql.connection import Connection, message_of, one
from agent.datastores.postgresql.own_state import MUST_FIT
from agent.datastores.postgresql.peers import within
from agent.datastores.postgresql.primary import Primary
from agent.datastores.postgresql.timelines import Branch, Position, branches_of, lsn, shown

ABOUT = """
    SELECT pg_is_in_recovery(), current_setting('server_version_num')::int / 10000, pg_postmaster_start_time(),
           (SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size'),
           (SELECT timeline_id FROM pg_control_checkpoint()), current_setting('full_page_writes') = 'on'
"""
PART = 0.6
"""Fraction of the time limit that the source gets for its answers."""
SETTINGS = "SELECT name, setting::int FROM pg_settings WHERE name = ANY(%s)"
TABLESPACES = "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''"
SIZE = "SELECT sum(pg_database_size(oid))::bigint FROM pg_database"
WAL = "SELECT sum(size)::bigint FROM pg_ls_waldir()"
SLOT = "SELECT slot_type, active FROM pg_replication_slots WHERE slot_name = %s"
SLOTS_LEFT = "SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)",
)  # fmt: skip
GRANTED = "SELECT f FROM unnest(%s::text[]) f WHERE NOT has_function_privilege(f, 'EXECUTE')"


@dataclass(frozen=True)
class Source:
    """The server to follow. `position` is the present end of its WAL."""

    system: str
    position: Position
    recovers: bool
    major: int
    started: Any
    segment: int
    checkpoint_timeline: int
    full_page_writes: bool
    settings: Mapping[str, int]
    tablespaces: Sequence[tuple[int, str]]


def look_at_source(primary: Primary, timeout: float) -> Source:
    """Inspect the source. Raises `DatastoreError` if it is down or refuses the agent or a replication connection.

    The time limit is a little below `timeout` seconds, so that the plan can still name an unresponsive server.
    """
    return within(PART * timeout, primary.target.address, partial(_look_at_source, primary))


def _look_at_source(primary: Primary) -> Source:
    with primary.target.connect() as connection:
        about: Any = connection.execute(ABOUT).fetchone()
        settings = dict(connection.execute(SETTINGS, (list(MUST_FIT),)).fetchall())
        tablespaces = connection.execute(TABLESPACES).fetchall()
    with primary.sender.connect() as replication:
        system, position = _identify(replication)
    recovers, major, started, segment, checkpoint_timeline, full_page_writes = about
    places = [(int(oid), str(place)) for oid, place in tablespaces]
    return Source(
        system, position, recovers, major, started, segment, checkpoint_timeline, full_page_writes, settings, places
    )


def _identify(replication: Connection) -> tuple[str, Position]:
    row: Any = replication.execute("IDENTIFY_SYSTEM").fetchone()
    system, timeline, end, _ = (_text(each) for each in row)
    return system, Position(_history(replication, int(timeline)), lsn(end))


def _history(replication: Connection, timeline: int) -> tuple[Branch, ...]:
    if timeline == 1:
        return branches_of("", 1)
    row: Any = replication.execute(f"TIMELINE_HISTORY {timeline}".encode()).fetchone()
    return branches_of(_text(row[1]), timeline)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def why_wal_is_missing(primary: Primary, source: Source, timeline: int, position: int) -> str | None:
    """Start streaming from this position like a standby. Returns the source's error if it lacks that WAL, else None."""
    start = position // source.segment * source.segment
    if start == position == source.position.end:
        return None
    with primary.sender.connect() as replication:
        wire = replication.pgconn
        result = wire.exec_(f"START_REPLICATION PHYSICAL {shown(start)} TIMELINE {timeline}".encode())
        if result.status == pq.ExecStatus.COPY_BOTH:
            try:
                if wire.get_copy_data(0)[0] > 0:
                    return None
                result = wire.get_result() or result
            except psycopg.Error as error:
                return message_of(error)
        return " ".join(result.error_message.decode(errors="replace").split()) or "the connection ended"


def why_no_room_for_senders(primary: Primary, wanted: int) -> str | None:
    """The source's error if it does not accept that many concurrent replication connections, else None."""
    try:
        with ExitStack() as open_now:
            for _ in range(wanted):
                open_now.enter_context(primary.sender.connect())
    except DatastoreError as error:
        return str(error)
    return None


def why_slot_cannot_be_used(primary: Primary, *, ours: bool) -> str | None:
    """The reason why the configured slot cannot be used, or None; `ours`: this server is its present user."""
    if not primary.slot:
        return None
    with primary.target.connect() as connection:
        row = connection.execute(SLOT, (primary.slot,)).fetchone()
        if row is None:
            if one(connection, SLOTS_LEFT) > 0:
                return None
            return f"{primary.target.address} has no replication slot {primary.slot} and no room for one more"
    kind, active = row
    if kind != "physical":
        return f"the replication slot {primary.slot} of {primary.target.address} is {kind}, not physical"
    if active and not ours:
        return f"the replication slot {primary.slot} of {primary.target.address} is used by another server"
    return None


def create_slot(primary: Primary) -> bool:
    """Create the configured slot if it is missing. Returns whether it was created."""
    if not primary.slot:
        return False
    with primary.target.connect() as connection:
        if connection.execute(SLOT, (primary.slot,)).fetchone() is not None:
            return False
    with primary.sender.connect() as replication:
        name = sql.Identifier(primary.slot)
        replication.execute(sql.SQL("CREATE_REPLICATION_SLOT {} PHYSICAL RESERVE_WAL").format(name))
    return True


def drop_slot(primary: Primary) -> None:
    """Try to drop the configured slot again: an unused slot retains WAL without limit."""
    with suppress(DatastoreError), primary.target.connect() as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", (primary.slot,))


def missing_for_rewind(primary: Primary) -> list[str]:
    """The functions that pg_rewind calls and that the agent's account may not execute."""
    with primary.target.connect() as connection:
        return [row[0] for row in connection.execute(GRANTED, (list(REWIND_FUNCTIONS),))]


def size_of(primary: Primary) -> int | None:
    """Size in bytes of its databases and its WAL; None if the account may not read it."""
    total = 0
    for statement in (SIZE, WAL):
        try:
            with primary.target.connect() as connection:
                total += one(connection, statement) or 0
        except DatastoreRefused:
            if statement is SIZE:
                return None
    return total
