"""Replication of PostgreSQL: what a server is to the others, its promotion, and its leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.datastores.base import DatastoreRefused, Role
from agent.datastores.postgresql_connection import LOOK_EVERY, Target, one, parse
from agent.errors import ConfigError
from agent.models import Json
from agent.stop import Stop

ROLE = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'off',
           CASE WHEN pg_is_in_recovery() THEN current_setting('primary_conninfo') END,
           CASE WHEN pg_is_in_recovery() THEN current_setting('restore_command') END,
           EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
"""


def role(server: Target, data: Path | None) -> Role:
    """As the server says; one that runs and lets nobody in is a replica where its files say so."""
    try:
        with server.connect() as connection:
            row: Any = connection.execute(ROLE).fetchone()
    except DatastoreRefused:
        if data is not None and _is_standby_by_its_files(data):
            return Role("replica")
        raise
    recovers, writable, conninfo, restore, streaming = row
    if not recovers:
        return Role("primary", writable=writable)
    return Role("replica" if conninfo or restore else "standalone", _address_in(conninfo), streaming)


def promote(server: Target, stop: Stop) -> Json:
    """Ask for it, and wait until it writes."""
    with server.connect() as connection:
        connection.execute("SELECT pg_promote(false)")
    _await(server, lambda: role(server, None).name == "primary", stop, "is not a primary yet, and may still become one")
    with server.connect() as connection:
        row: Any = connection.execute("SELECT pg_walfile_name(lsn), lsn::text FROM pg_current_wal_lsn() lsn").fetchone()
    return {"timeline": int(row[0][:8], 16), "lsn": row[1]}


def disable(server: Target, stop: Stop) -> Json:
    """Empty what it follows, for good, and wait until it has let go."""
    with server.connect() as connection:
        slot = one(connection, "SHOW primary_slot_name")
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        if one(connection, "SHOW restore_command"):
            connection.execute("ALTER SYSTEM SET restore_command = ''")
        connection.execute("SELECT pg_reload_conf()")
    otherwise = "still follows: primary_conninfo or restore_command is set where ALTER SYSTEM does not reach"
    _await(server, lambda: _follows_nobody(server), stop, otherwise)
    return {"slot": slot or None}


def _follows_nobody(server: Target) -> bool:
    with server.connect() as connection:
        receives = one(connection, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)")
    return not receives and role(server, None).name == "standalone"


def _is_standby_by_its_files(data: Path) -> bool:
    try:
        return (data / "standby.signal").exists()
    except OSError:
        return False


def _address_in(conninfo: str | None) -> str | None:
    """Where a primary is, of what a replica knows of it; never its password."""
    try:
        return Target(parse(conninfo, "primary_conninfo"), lambda: None, 0).address if conninfo else None
    except ConfigError:
        return None


def _await(server: Target, fact: Callable[[], bool], stop: Stop, otherwise: str) -> None:
    """Raises `DatastoreRefused` where the fact does not come true in `datastore.timeout`."""
    deadline = time.monotonic() + server.timeout
    while not fact():
        if stop.requested or time.monotonic() > deadline:
            raise DatastoreRefused(f"PostgreSQL at {server.address} {otherwise}: {stop.reason or 'the time is over'}")
        stop.wait(LOOK_EVERY)
