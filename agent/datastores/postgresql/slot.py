"""Handle the remains of a replica on its source: its slot, and commits that wait for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError, DatastoreUnreachable
from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, Target
from agent.datastores.postgresql.peers import ANSWERS_WITHIN, logins_of, within
from agent.models import Json
from agent.util.poll import looks
from agent.util.stop import Stop

LET_GO = 10.0
"""Seconds that a source may take to notice that its replica is disconnected."""

SLOT = """
    SELECT active, (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
                    - restart_lsn)::bigint
    FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'
"""
# This replica among the synchronous standbys: by its slot, otherwise by its name.
SYNCHRONOUS = """
    SELECT count(*) FROM pg_stat_replication
    WHERE sync_state IN ('sync', 'quorum')
      AND (pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = %(slot)s)
           OR %(slot)s::text IS NULL AND application_name = %(name)s)
"""


@dataclass(frozen=True)
class SourceDependencies:
    """The source's dependencies on a replica. None: not known."""

    held_bytes: int | None = None
    last_synchronous: bool | None = False
    error: str | None = None

    def warnings(self, slot: str | None) -> list[str]:
        """Warnings for the operator before this replica stops following."""
        found = []
        if self.last_synchronous:
            found.append("this is the last synchronous standby: commits on the primary will wait from then on")
        if self.last_synchronous is None:
            found.append(
                "synchronous_standby_names is set on the primary, and the agent cannot read the states of its "
                "standbys: commits may wait"
            )
        if self.error and slot:
            found.append(f"the slot {slot} cannot be read; it may stay and retain WAL: {self.error}")
        return found


def look_at_source(
    settings: DatastoreSettings, params: Mapping[str, Any], slot: str | None, timeout: float
) -> SourceDependencies:
    """Read the source's dependencies on this replica."""
    logins = _for_sql(settings, params, timeout)
    if not logins:
        return SourceDependencies(error="the address of the source is unknown")
    try:
        return within(timeout, logins[0].address, partial(_look_at_source, logins, slot, params))
    except DatastoreUnreachable as unreachable:
        return SourceDependencies(error=str(unreachable))


def _look_at_source(logins: Iterable[Target], slot: str | None, params: Mapping[str, Any]) -> SourceDependencies:
    error: str | None = None
    for login in logins:
        try:
            with login.connect() as connection:
                return _read(connection, slot, str(params.get("application_name") or "walreceiver"))
        except DatastoreUnreachable as unreachable:
            return SourceDependencies(error=str(unreachable))
        except DatastoreError as refused:
            error = str(refused)
    return SourceDependencies(error=error)


def _read(connection: Connection, slot: str | None, name: str) -> SourceDependencies:
    row: Any = connection.execute(SLOT, (slot,)).fetchone()
    synchronous = facts.synchronous(connection)
    if synchronous["satisfied"] is None:
        return SourceDependencies(held_bytes=row[1] if row else None, last_synchronous=None)
    one_of_them: Any = connection.execute(SYNCHRONOUS, {"slot": slot, "name": name}).fetchone()
    others = len(synchronous["standbys"]) - 1
    last = one_of_them[0] > 0 and others < synchronous["required"]
    return SourceDependencies(held_bytes=row[1] if row else None, last_synchronous=last)


def drop_slot(settings: DatastoreSettings, params: Mapping[str, Any], slot: str, stop: Stop) -> Json:
    """Drop this replica's slot on its source once the source has noticed the disconnect; returns the result."""
    held: int | None = None
    why = "the address of the source is unknown"
    for login in _logins(settings, params, ANSWERS_WITHIN):
        try:
            with login.connect() as connection:
                drop = _drop_as_replica if "replication" in login.params else _drop
                held, why = drop(connection, slot, stop)
                if not why:
                    return {"name": slot, "dropped": True}
        except DatastoreUnreachable as error:
            why = str(error)
            break
        except DatastoreError as error:
            why = str(error)
    cure = f"run SELECT pg_drop_replication_slot('{slot}') on the primary, which retains WAL for it"
    return {"name": slot, "dropped": False, "held_bytes": held, "why": f"{why}; {cure}"}


def _drop(connection: Connection, slot: str, stop: Stop) -> tuple[int | None, str]:
    """The bytes that the slot retains, and the reason why it still exists; no reason if it is dropped."""
    held: int | None = None
    for _ in looks(LET_GO, stop):
        row = connection.execute(SLOT, (slot,)).fetchone()
        if row is None:
            return None, ""
        in_use, held = row
        if not in_use:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
            return None, ""
    return held, "another server uses the slot"


def _drop_as_replica(connection: Connection, slot: str, stop: Stop) -> tuple[None, str]:
    """Drop the slot with an account for replication only, which cannot see the retained bytes."""
    for _ in looks(LET_GO, stop):
        try:
            connection.execute(sql.SQL("DROP_REPLICATION_SLOT {}").format(sql.Identifier(slot)))
        except psycopg.errors.UndefinedObject:
            return None, ""
        except psycopg.errors.ObjectInUse:
            continue
        return None, ""
    return None, "another server uses the slot"


def _logins(settings: DatastoreSettings, params: Mapping[str, Any], timeout: float) -> list[Target]:
    if not (params.get("host") or params.get("hostaddr")):
        return []
    return logins_of(settings, params, timeout)


def _for_sql(settings: DatastoreSettings, params: Mapping[str, Any], timeout: float) -> list[Target]:
    return [login for login in _logins(settings, params, timeout) if "replication" not in login.params]
