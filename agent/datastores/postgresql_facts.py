"""Facts about a PostgreSQL, each from one statement on a connection: identity, timeline, position, lag, replicas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql_connection import Connection, one

# Of a replica the end of what it has received: all of that is replayed before a promotion ends.
POSITION = """
    SELECT CASE WHEN pg_is_in_recovery()
                THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_flush_lsn() END::text
"""
TIMELINE = """
    SELECT CASE WHEN pg_is_in_recovery()
                THEN GREATEST((SELECT received_tli FROM pg_stat_wal_receiver),
                              (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                              (SELECT timeline_id FROM pg_control_checkpoint()))
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END
"""
REPLICAS = """
    SELECT application_name, COALESCE(host(client_addr), 'a local socket'), state, sync_state,
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END
            - replay_lsn)::bigint
    FROM pg_stat_replication ORDER BY 1, 2
"""
SLOTS = """
    SELECT slot_name, active, slot_type, wal_status,
           (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
            - restart_lsn)::bigint
    FROM pg_replication_slots ORDER BY 1
"""
RECEIVER = """
    SELECT status, EXTRACT(epoch FROM clock_timestamp() - last_msg_receipt_time)::float8,
           (COALESCE(latest_end_lsn, pg_last_wal_receive_lsn()) - pg_last_wal_replay_lsn())::bigint
    FROM pg_stat_wal_receiver
"""
ALL_REPLAYED = "SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
COMMITTED = "SELECT EXTRACT(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8"
# A walsender that the role of the agent may not look at has no state.
SYNCHRONOUS = """
    SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
           COALESCE(array_agg(application_name ORDER BY 1) FILTER (WHERE sync_state IN ('sync', 'quorum')), '{}'),
           COALESCE(bool_or(state IS NULL), false)
    FROM pg_stat_replication
"""
REQUIRED = re.compile(r"\s*(?:(?:first|any)\s+)?(\d+)\s*\(", re.IGNORECASE)


def cluster_id(connection: Connection) -> str:
    """The system identifier, which all servers of one cluster share."""
    return str(one(connection, "SELECT system_identifier::text FROM pg_control_system()"))


def version(connection: Connection) -> str:
    """The version, such as `15.18`."""
    return str(one(connection, "SELECT split_part(current_setting('server_version'), ' ', 1)"))


def position(connection: Connection) -> str:
    """The LSN up to which the server has its data: written on a primary, received on a replica."""
    return str(one(connection, POSITION))


def timeline(connection: Connection) -> int:
    """The timeline that a primary writes and a replica receives or replays."""
    return int(one(connection, TIMELINE))


def bytes_between(connection: Connection, later: str, earlier: str) -> int:
    """The bytes of WAL from one LSN to a later one, negative where it is not later."""
    return int(one(connection, "SELECT (%s::pg_lsn - %s::pg_lsn)::bigint", later, earlier))


def receiver(connection: Connection) -> tuple[str, float | None, int | None] | None:
    """Of a receiving replica: its state, the age of the last message in seconds, bytes not replayed; else None.

    Raises `DatastoreRefused` where the agent's role may not see it.
    """
    row = connection.execute(RECEIVER).fetchone()
    if row is not None and row[0] is None:
        raise DatastoreRefused("the role of the agent may not see the receiver of WAL: grant it pg_monitor")
    return None if row is None else (str(row[0]), row[1], row[2])


def seconds_behind(connection: Connection) -> float | None:
    """Seconds that what is visible on a replica is behind; 0 with all replayed while it receives."""
    receiving = receiver(connection)
    if receiving is not None and receiving[0] == "streaming" and one(connection, ALL_REPLAYED):
        return 0.0
    return seconds_since_commit(connection)


def seconds_since_commit(connection: Connection) -> float | None:
    """Seconds since the newest commit that is replayed was made; None where none was replayed since the start."""
    age = one(connection, COMMITTED)
    return None if age is None else max(0.0, float(age))


def replicas(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """The servers that receive from this one."""
    names = ("name", "address", "state", "synchronous", "lag_bytes")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(REPLICAS)]


def slots(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """The replication slots, and the bytes of WAL that each keeps from being removed."""
    names = ("name", "active", "type", "wal_status", "held_bytes")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(SLOTS)]


def synchronous(connection: Connection) -> Mapping[str, Any]:
    """How many synchronous standbys a commit waits for, and which are there.

    `satisfied` is whether commits get through; None where the agent's role may not see the standbys.
    """
    row: Any = connection.execute(SYNCHRONOUS).fetchone()
    names, commit, standbys, hidden = row
    required = 0 if not names.strip() or commit in ("local", "off") else _number(names)
    satisfied = len(standbys) >= required
    return {
        "required": required,
        "satisfied": None if hidden and not satisfied else satisfied,
        "standbys": list(standbys),
        "names": names,
    }


def _number(names: str) -> int:
    """The number of standbys that `synchronous_standby_names` requires; a plain list requires one."""
    found = REQUIRED.match(names)
    return int(found[1]) if found else 1
