"""Read facts about a PostgreSQL, one statement each: identity, timeline, position, lag, replicas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql.connection import Connection, one

# On a replica, the end of the received WAL: all of it is replayed before a promotion ends.
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
PAUSED = "SELECT pg_is_wal_replay_paused()"
ALL_REPLAYED = "SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
COMMITTED = "SELECT EXTRACT(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8"
# The state of a walsender is NULL if the agent's role may not see it.
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
    """The LSN up to which the server has data: written on a primary, received on a replica."""
    return str(one(connection, POSITION))


def timeline(connection: Connection) -> int:
    """The timeline: written by a primary, received or replayed by a replica."""
    return int(one(connection, TIMELINE))


def bytes_between(connection: Connection, later: str, earlier: str) -> int:
    """Bytes of WAL from one LSN to a later one; negative if it is earlier."""
    return int(one(connection, "SELECT (%s::pg_lsn - %s::pg_lsn)::bigint", later, earlier))


def receiver(connection: Connection) -> tuple[str, float | None, int | None] | None:
    """State of the WAL receiver, age of its last message in seconds, bytes not replayed; None without a receiver.

    Raises `DatastoreRefused` if the agent's role may not see it.
    """
    row = connection.execute(RECEIVER).fetchone()
    if row is not None and row[0] is None:
        raise DatastoreRefused("the role of the agent may not see the WAL receiver: grant it pg_monitor")
    return None if row is None else (str(row[0]), row[1], row[2])


def streams(connection: Connection) -> bool:
    """Whether a replica receives from its source and replays what it receives. Raises as `receiver` does."""
    receiving = receiver(connection)
    return receiving is not None and receiving[0] == "streaming" and not one(connection, PAUSED)


def seconds_behind(connection: Connection) -> float | None:
    """Seconds that the visible data of a replica is behind; 0 if it receives and everything is replayed."""
    receiving = receiver(connection)
    if receiving is not None and receiving[0] == "streaming" and one(connection, ALL_REPLAYED):
        return 0.0
    return seconds_since_commit(connection)


def seconds_since_commit(connection: Connection) -> float | None:
    """Seconds since the time of the newest replayed commit; None if none was replayed since the start."""
    age = one(connection, COMMITTED)
    return None if age is None else max(0.0, float(age))


def replicas(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """The replicas that receive from this server."""
    names = ("name", "address", "state", "synchronous", "lag_bytes")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(REPLICAS)]


def slots(connection: Connection) -> Sequence[Mapping[str, Any]]:
    """The replication slots with the bytes of WAL that each retains."""
    names = ("name", "active", "type", "wal_status", "held_bytes")
    return [dict(zip(names, row, strict=True)) for row in connection.execute(SLOTS)]


def synchronous(connection: Connection) -> Mapping[str, Any]:
    """The number of synchronous standbys that a commit requires, and the connected ones.

    `satisfied`: whether commits complete; None if the agent's role may not see the standbys.
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
