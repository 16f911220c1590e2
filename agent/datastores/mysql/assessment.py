"""Read the facts about this server and its future primary, for the decision about a resync."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mysql import (
    clone,
    databases as mysql_databases,
    dump,
    filters,
    history,
    incomplete_mark,
    replication,
)
from agent.datastores.mysql.data_directory import DataDirectory, free_bytes
from agent.datastores.mysql.history import GtidComparison, Side
from agent.datastores.mysql.incomplete_mark import MARK
from agent.datastores.mysql.programs import program
from agent.datastores.mysql.session import Row, Session, connect
from agent.datastores.mysql.sources import Source
from agent.supervisors.base import Supervisor

BASE = 256 << 20
"""Bytes of a server without application data."""
SIZE = "SELECT COALESCE(SUM(data_length + index_length), 0) AS size FROM information_schema.tables"
NEEDED = ("SELECT", "RELOAD", "PROCESS", "LOCK TABLES", "SHOW VIEW", "EVENT", "TRIGGER")
"""Privileges that the agent's user needs on the primary for a full dump."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """`current` is the status row of the primary if this server follows it; `others` are the other sources.

    `only_here` are the databases that the primary lacks: created without a GTID, or excluded by a replication filter
    of the primary (`filters_there`).
    """

    here: str
    there: str
    cluster_here: str
    cluster_there: str
    comparison: GtidComparison
    current: Row | None
    others: Sequence[Row]
    sources: Sequence[str]
    writable: bool
    dirty: bool
    databases: Sequence[str]
    only_here: Sequence[str]
    filters_there: str | None

    @property
    def receives(self) -> bool:
        return self.current is not None and self.current["Replica_IO_Running"] == "Yes"

    @property
    def broken(self) -> str:
        """The error that stopped the applier of the primary's transactions; empty without an error."""
        return str((self.current or {}).get("Last_SQL_Error") or "")

    @property
    def worthless(self) -> bool:
        """Whether this server has no data to lose."""
        return self.dirty or (self.comparison.empty and not self.databases)

    @property
    def loses_databases(self) -> bool:
        """Whether a copy would remove databases that are not in the primary's history."""
        return bool(self.only_here) and not self.dirty


@dataclass(frozen=True, slots=True)
class Copying:
    """The method of a copy. `fixed`: the reason why it cannot be made next to the old data, or None."""

    method: str
    fixed: str | None
    size: int
    needs: int
    free: int
    foreign: Sequence[Path]
    left_out: Sequence[str]
    place: DataDirectory | None


def look(here: Session, there: Session, source: Source, at: Side, settings: DatastoreSettings) -> Assessment:
    """Read the facts. Raises `DatastoreRefused` if this server cannot follow `there`, `DatastoreError` in doubt."""
    check_can_lead(here, there, source)
    followed = here.replica_status()
    current = next((row for row in followed if _is_of(row, there, source)), None)
    comparison = history.compare(
        at, Side(there, source.replication), settings.programs, settings.timeout,
        follows=current is not None and current["Replica_IO_Running"] == "Yes", pointed=current is not None,
    )  # fmt: skip
    databases, theirs = _databases(here), _databases(there)
    return Assessment(
        here=here.where,
        there=there.where,
        cluster_here=history.cluster_id(here),
        cluster_there=history.cluster_id(there),
        comparison=comparison,
        current=current,
        others=[row for row in followed if row is not current] if len(followed) > 1 else [],
        sources=[source_name(row) for row in followed],
        writable=replication.is_writable(here),
        dirty=incomplete_mark.is_marked(here),
        databases=databases,
        only_here=[each for each in databases if each not in theirs],
        filters_there=filters.of(there),
    )


def _databases(session: Session) -> list[str]:
    names = mysql_databases.names(session)
    return [each for each in names if each != MARK and not mysql_databases.is_system(each)]


def look_at_copying(here: Session, there: Session, service: Supervisor | None, settings: DatastoreSettings) -> Copying:
    """Check the requirements of a copy before anything is stopped. Raises `DatastoreError` if one is missing."""
    if lacking := there.lacks(*NEEDED):
        raise DatastoreRefused(f"the user of datastore.primary lacks {', '.join(lacking)} at {there.where}")
    place, fixed = _place(here, service, settings)
    by_clone = clone.is_offered(here, there) and service is not None
    size = int(there.value(SIZE))
    left_out: list[str] = []
    if not by_clone:
        for name in (here.dialect.dump[0], here.dialect.client):
            program(name, settings.programs)
        dump.options_for(there, settings.programs)
        left_out = dump.invalid_views(there)
    needs = size + BASE if by_clone else 2 * size + BASE
    free = free_bytes(place.data.parent) if place is not None and place.data.is_dir() else 0
    if fixed is None and free < needs:
        fixed = f"{place.data.parent if place else ''} has {free} bytes free and old and new data need {needs}"
    return Copying(
        method="clone" if by_clone else "dump",
        fixed=fixed,
        size=size,
        needs=needs,
        free=free,
        foreign=[] if place is None else place.foreign_files(),
        left_out=left_out,
        place=place,
    )


def check_can_lead(here: Session, there: Session, source: Source, *, follows_us: bool = False) -> None:
    """Raises `DatastoreRefused` if `here` cannot follow `there`. `follows_us`: `there` may follow `here` now."""
    if here.dialect.product != there.dialect.product:
        raise DatastoreRefused(f"{there.where} is another product than {here.where}")
    if here.value(here.dialect.identity) == there.value(there.dialect.identity):
        raise DatastoreRefused(f"{there.where} is this server itself")
    number = here.value("SELECT @@server_id")
    if number == there.value("SELECT @@server_id"):
        raise DatastoreRefused(f"{there.where} has the same server_id as this server, {number}")
    if not follows_us and any(row["Source_Server_Id"] == number for row in there.replica_status()):
        raise DatastoreRefused(f"{there.where} follows this server: promote it first")
    for session in (here, there):
        if not session.value(session.dialect.can_lead):
            raise DatastoreRefused(f"{session.where} has no binary log with GTIDs, which replicas need")
    incomplete_mark.check_whole(there)
    check_replicates(there, source)


def check_replicates(there: Session, source: Source) -> None:
    """Raises `DatastoreRefused` if the replication account lacks the privilege."""
    if source.replication == source.admin:
        lacking = there.lacks("REPLICATION SLAVE")
    else:
        with connect(source.replication, timeout=10) as session:
            lacking = session.lacks("REPLICATION SLAVE")
    if lacking:
        raise DatastoreRefused(f"the user {source.replication.user} lacks REPLICATION SLAVE at {there.where}")


def source_name(row: Row) -> str:
    """A source for messages: channel or connection name, and address."""
    name = str(row.get("Connection_name", row.get("Channel_Name")) or "")
    address = replication.primary_of(row)
    return f"{name} ({address})" if name else address


def _is_of(row: Row, there: Session, source: Source) -> bool:
    if replication.primary_of(row) == source.label:
        return True
    return "Source_UUID" in row and row["Source_UUID"] == there.value(there.dialect.identity)


def _place(
    here: Session, service: Supervisor | None, settings: DatastoreSettings
) -> tuple[DataDirectory | None, str | None]:
    """The data directory, and the reason why it cannot be exchanged, or None."""
    if settings.data_directory is None:
        return None, "datastore.data_directory is not set"
    place = DataDirectory(settings.data_directory)
    if place.data != DataDirectory.of(here).data:
        raise DatastoreError(
            f"datastore.data_directory is {place.data}, and the server uses {DataDirectory.of(here).data}"
        )
    return place, "[service] is not set" if service is None else place.why_fixed(here)
