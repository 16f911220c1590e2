"""What this PostgreSQL is before a resync: its cluster, how far it is, what it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused
from agent.datastores.postgresql_connection import Target, parse
from agent.datastores.postgresql_control import Control, branches, end_by_files, read_control, timeline_at
from agent.datastores.postgresql_files import DataDirectory
from agent.datastores.postgresql_timelines import Position, lsn
from agent.errors import ConfigError

MUST_FIT = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
"""A standby with less of these than its primary does not start. The values are the server's defaults."""
TARGETS = ("recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
           "recovery_target_lsn")  # fmt: skip
"""Where a recovery would end: a standby with one of these promotes itself, pauses or shuts down there."""
LIVE = """
    SELECT pg_is_in_recovery(),
           CASE WHEN pg_is_in_recovery() THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_flush_lsn() END::text,
           CASE WHEN pg_is_in_recovery()
                THEN GREATEST((SELECT received_tli FROM pg_stat_wal_receiver),
                              (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                              (SELECT timeline_id FROM pg_control_checkpoint()))
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
           EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
           CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END,
           CASE WHEN pg_is_in_recovery() THEN current_setting('recovery_min_apply_delay') ELSE '0' END,
           pg_postmaster_start_time()
"""
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
ASKED = (*MUST_FIT, *TARGETS, "primary_conninfo", "primary_slot_name", "restore_command", "hot_standby")


@dataclass(frozen=True)
class Mine:
    """This server. `position` is None where it cannot be known, and `unknown` says why.

    `live`: it lets us in. `up`: it runs. `follows`: it is a standby, so that it writes nothing of its own.
    """

    control: Control
    position: Position | None
    unknown: str
    up: bool
    live: bool
    follows: bool
    streaming: bool
    replay: str
    started: Any
    settings: Mapping[str, str]

    @property
    def source(self) -> tuple[str, str] | None:
        """Host and port that its primary_conninfo names."""
        return endpoint(self.settings.get("primary_conninfo", ""))

    @property
    def ends_recovery(self) -> bool:
        """Whether settings of an earlier life would end its recovery."""
        return any(self.settings.get(name) for name in TARGETS)


def look_at(data: DataDirectory, server: Target) -> Mine:
    """Raises `DatastoreError` where its cluster cannot be known."""
    control = read_control(data)
    up = server.is_up()
    live = _live(server) if up else None
    if live is not None:
        return _of_live(data, control, *live)
    position, unknown = _position_by_files(data, control)
    follows = (data.present / "standby.signal").exists()
    return Mine(control, position, unknown, up, False, follows, False, "", None, _settings_by_files(data))


def endpoint(conninfo: str) -> tuple[str, str] | None:
    """Host and port in a connection string; None where it names none."""
    try:
        params = parse(conninfo, "primary_conninfo")
    except ConfigError:
        return None
    host = params.get("host") or params.get("hostaddr")
    return (str(host), str(params.get("port") or 5432)) if host else None


def _live(server: Target) -> tuple[Any, dict[str, str]] | None:
    """Its own answers; None where it accepts no connection."""
    try:
        with server.connect() as connection:
            row = connection.execute(LIVE).fetchone()
            return row, dict(connection.execute(SETTINGS, (list(ASKED),)).fetchall())
    except (DatastoreRefused, DatastoreDown):
        return None


def _of_live(data: DataDirectory, control: Control, row: Any, settings: dict[str, str]) -> Mine:
    recovers, end, timeline, streaming, paused, delay, started = row
    replay = "paused" if paused else f"delayed by {delay}" if delay not in ("0", "0ms") else ""
    position, unknown = None, ""
    try:
        number = lsn(end)
        if recovers and not streaming:
            timeline = timeline_at(data, number, control.segment, timeline)
        position = Position(branches(data, timeline), number)
    except (DatastoreError, OSError) as error:
        unknown = str(error)
    return Mine(control, position, unknown, True, True, recovers, streaming, replay, started, settings)


def _position_by_files(data: DataDirectory, control: Control) -> tuple[Position | None, str]:
    try:
        return end_by_files(data, control), ""
    except (DatastoreError, OSError) as error:
        return None, str(error)


def _settings_by_files(data: DataDirectory) -> dict[str, str]:
    return {name: value for name in ASKED if (value := data.setting(name)) is not None}
