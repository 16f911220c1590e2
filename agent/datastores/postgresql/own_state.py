"""Read the state of this PostgreSQL before a resync: its cluster, its position, its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused
from agent.datastores.postgresql.connection import Target, all_of, parse
from agent.datastores.postgresql.control import Control, branches, end_by_files, read_control, timeline_at
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.timelines import Position, lsn
from agent.errors import ConfigError

MUST_FIT = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
"""Settings that must be at least the primary's on a standby, with their defaults."""
TARGETS = ("recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
           "recovery_target_lsn")  # fmt: skip
"""Recovery targets: with one of them a standby promotes itself, pauses or shuts down at the target."""
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
SLOTS = "SELECT slot_name || ' (' || slot_type || ')' FROM pg_replication_slots WHERE NOT temporary ORDER BY 1"
SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
OWN_SETTINGS = (*MUST_FIT, *TARGETS, "primary_conninfo", "primary_slot_name", "restore_command", "hot_standby")


@dataclass(frozen=True)
class OwnState:
    """This server. `position` is None if it is unknown, with the reason in `unknown`.

    `live`: it accepts the agent's connection. `up`: it runs. `follows`: it is a standby and writes no WAL of its
    own. `slots`: its replication slots, which its replicas use.
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
    slots: Sequence[str] = ()

    @property
    def source(self) -> tuple[str, str] | None:
        """Host and port of its primary_conninfo."""
        return endpoint(self.settings.get("primary_conninfo", ""))

    @property
    def ends_recovery(self) -> bool:
        """Whether inherited settings would end its recovery."""
        return any(self.settings.get(name) for name in TARGETS)


def look_at(data: DataDirectory, server: Target, known: OwnState | None = None) -> OwnState:
    """Inspect this server. Raises `DatastoreError` if its cluster is unknown, or if it refuses only the agent.

    For a stopped server, the settings of `known` are used if given: to read them by the server's program is slow.
    """
    control = read_control(data)
    up = server.is_up()
    live = _live(server) if up else None
    if live is not None:
        return _of_live(data, control, *live)
    position, unknown = _position_by_files(data, control)
    follows = (data.present / "standby.signal").exists()
    settings, slots = known.settings if known else _settings_by_files(data), _slots_by_files(data)
    return OwnState(control, position, unknown, up, False, follows, False, "", None, settings, slots)


def endpoint(conninfo: str) -> tuple[str, str] | None:
    """Host and port in a connection string; None if it has none."""
    try:
        params = parse(conninfo, "primary_conninfo")
    except ConfigError:
        return None
    host = params.get("host") or params.get("hostaddr")
    return (str(host), str(params.get("port") or 5432)) if host else None


def _live(server: Target) -> tuple[Any, dict[str, str], list[str]] | None:
    """The answers of the running server; None if it accepts no connections.

    Raises `DatastoreRefused` if the server accepts connections but refuses the agent's login: it is intact and must
    not be stopped. A second attempt covers a server that has become ready meanwhile.
    """
    for _ in range(2):
        try:
            with server.connect() as connection:
                row = connection.execute(LIVE).fetchone()
                settings = dict(connection.execute(SETTINGS, (list(OWN_SETTINGS),)).fetchall())
                return row, settings, all_of(connection, SLOTS)
        except DatastoreDown:
            return None
        except DatastoreRefused as error:
            refusal = str(error)
            if not server.accepts_connections():
                return None
    raise DatastoreRefused(
        f"{refusal}; the server accepts connections: repair the login of datastore.url, or stop the server, and the "
        "agent reads its state from its files"
    )


def _of_live(
    data: DataDirectory, control: Control, row: Any, settings: dict[str, str], slots: Sequence[str]
) -> OwnState:
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
    return OwnState(control, position, unknown, True, True, recovers, streaming, replay, started, settings, slots)


def _position_by_files(data: DataDirectory, control: Control) -> tuple[Position | None, str]:
    try:
        return end_by_files(data, control), ""
    except (DatastoreError, OSError) as error:
        return None, str(error)


def _slots_by_files(data: DataDirectory) -> list[str]:
    try:
        return sorted(path.name for path in (data.present / "pg_replslot").iterdir())
    except OSError:
        return []


def _settings_by_files(data: DataDirectory) -> dict[str, str]:
    return {name: value for name in OWN_SETTINGS if (value := data.setting(name)) is not None}
