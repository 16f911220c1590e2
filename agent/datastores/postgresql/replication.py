"""Read the role of a PostgreSQL in its cluster, and end its replication."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreRefused, Role
from agent.datastores.postgresql.connection import Target, one
from agent.datastores.postgresql.peers import ANSWERS_WITHIN, source_params
from agent.datastores.postgresql.readiness import address_in
from agent.datastores.postgresql.slot import drop_slot, look_at_source
from agent.models import Json
from agent.plan import Plan, Would, nothing, refuse
from agent.util.poll import poll
from agent.util.stop import Stop

ROLE = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'off',
           CASE WHEN pg_is_in_recovery() THEN current_setting('primary_conninfo') END,
           CASE WHEN pg_is_in_recovery() THEN current_setting('restore_command') END,
           CASE WHEN pg_is_in_recovery() THEN NOT pg_is_wal_replay_paused() ELSE false END
           AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
"""


def role(server: Target, data: Path | None) -> Role:
    """The server's role; if it runs but accepts no connections, its files decide whether it is a replica."""
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
    return Role("replica" if conninfo or restore else "standalone", address_in(conninfo), streaming)


def plan_disable(settings: DatastoreSettings, server: Target) -> Plan:
    """What `disable` would do now."""
    now = role(server, None)
    if now.name == "primary":
        return refuse("not a replica: this server is a primary", "run this action on a replica")
    if now.name == "standalone":
        return nothing("this server follows no source already")
    with server.connect() as connection:
        slot = one(connection, "SHOW primary_slot_name") or None
        params = source_params(connection)
    on_source = look_at_source(settings, params, slot, ANSWERS_WITHIN)
    steps = ["empty primary_conninfo, and restore_command if it is set"]
    steps += [f"drop the replication slot {slot} on {now.primary}"] if slot else []
    return Plan(
        Would.CHANGE,
        f"this server would stop following {now.primary or 'its source'}, and stay read-only",
        steps=steps,
        warnings=on_source.warnings(slot),
        facts={"source": now.primary, "slot": slot, "slot_holds_bytes": on_source.held_bytes},
    )


def disable(settings: DatastoreSettings, server: Target, stop: Stop) -> Json:
    """Clear the source settings permanently, wait until the server is disconnected, drop its slot on the source.

    Returns `slot`: its name, whether it is `dropped`, the bytes that it retains, and why it still exists.
    """
    with server.connect() as connection:
        slot = one(connection, "SHOW primary_slot_name") or None
        params = source_params(connection)
        before = look_at_source(settings, params, slot, ANSWERS_WITHIN)
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        if one(connection, "SHOW restore_command"):
            connection.execute("ALTER SYSTEM SET restore_command = ''")
        connection.execute("SELECT pg_reload_conf()")
    otherwise = "still follows: primary_conninfo or restore_command is set where ALTER SYSTEM does not reach"
    _await(server, lambda: _follows_no_source(server), stop, otherwise)
    warned = before.warnings(None)
    left = drop_slot(settings, params, slot, stop) if slot else None
    return {"slot": left} | ({"warnings": warned} if warned else {})


def _follows_no_source(server: Target) -> bool:
    with server.connect() as connection:
        receives = one(connection, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)")
    return not receives and role(server, None).name == "standalone"


def _is_standby_by_its_files(data: Path) -> bool:
    try:
        return (data / "standby.signal").exists()
    except OSError:
        return False


def _await(server: Target, fact: Callable[[], bool], stop: Stop, otherwise: str) -> None:
    """Wait for the fact. Raises `DatastoreRefused` after `datastore.timeout`."""
    if not poll(fact, server.timeout, stop):
        raise DatastoreRefused(f"PostgreSQL at {server.address} {otherwise}: {stop.reason or 'timeout'}")
