"""How this server stands to the primary that it should follow: facts alone, read from both servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import Datastore as Settings
from agent.datastores import mysql_clone, mysql_databases, mysql_dump, mysql_history, mysql_mark, mysql_replication
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mysql_history import Comparison, Side
from agent.datastores.mysql_mark import MARK
from agent.datastores.mysql_place import Place, free_bytes
from agent.datastores.mysql_programs import program
from agent.datastores.mysql_session import Row, Session, connect
from agent.datastores.mysql_sources import Source
from agent.supervisors.base import Supervisor

BASE = 256 << 20
"""Bytes of a server without any data of applications."""
SIZE = "SELECT COALESCE(SUM(data_length + index_length), 0) AS size FROM information_schema.tables"
NEEDED = ("SELECT", "RELOAD", "PROCESS", "LOCK TABLES", "SHOW VIEW", "EVENT", "TRIGGER")
"""What the agent's user must hold on the primary to dump all of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`current` is the status row of the primary, where this server follows it; `others` are its other sources."""

    here: str
    there: str
    cluster_here: str
    cluster_there: str
    comparison: Comparison
    current: Row | None
    others: Sequence[Row]
    sources: Sequence[str]
    writable: bool
    dirty: bool
    databases: Sequence[str]

    @property
    def receives(self) -> bool:
        return self.current is not None and self.current["Replica_IO_Running"] == "Yes"

    @property
    def broken(self) -> str:
        """The error on which the applier of the primary's transactions stopped; empty where there is none."""
        return str((self.current or {}).get("Last_SQL_Error") or "")

    @property
    def worthless(self) -> bool:
        """Whether there is nothing on this server to lose, whatever happens to it."""
        return self.dirty or (self.comparison.empty and not self.databases)


@dataclass(frozen=True, slots=True)
class Copying:
    """How a copy of the primary would be made. `fixed`: why not beside the old data; None: it is made there."""

    method: str
    fixed: str | None
    size: int
    needs: int
    free: int
    foreign: Sequence[Path]
    left_out: Sequence[str]
    place: Place | None


def look(here: Session, there: Session, source: Source, at: Side, settings: Settings) -> Standing:
    """Raises `DatastoreRefused` where `there` cannot be followed by this server, `DatastoreError` in doubt."""
    check_can_lead(here, there, source)
    followed = here.replica_status()
    current = next((row for row in followed if _is_of(row, there, source)), None)
    comparison = mysql_history.compare(
        at, Side(there, source.replication), settings.programs, settings.timeout,
        follows=current is not None and current["Replica_IO_Running"] == "Yes", pointed=current is not None,
    )  # fmt: skip
    names = mysql_databases.names(here)
    return Standing(
        here=here.where,
        there=there.where,
        cluster_here=mysql_history.cluster_id(here),
        cluster_there=mysql_history.cluster_id(there),
        comparison=comparison,
        current=current,
        others=[row for row in followed if row is not current] if len(followed) > 1 else [],
        sources=[source_name(row) for row in followed],
        writable=mysql_replication.is_writable(here),
        dirty=mysql_mark.is_marked(here),
        databases=[each for each in names if each != MARK and not mysql_databases.is_system(each)],
    )


def look_at_copying(here: Session, there: Session, service: Supervisor | None, settings: Settings) -> Copying:
    """Everything that a copy needs, before anything is stopped. Raises `DatastoreError` where something is missing."""
    if lacking := there.lacks(*NEEDED):
        raise DatastoreRefused(f"the user of datastore.primary lacks {', '.join(lacking)} at {there.where}")
    place, fixed = _place(here, service, settings)
    by_clone = mysql_clone.is_offered(here, there) and service is not None
    size = int(there.value(SIZE))
    left_out: list[str] = []
    if not by_clone:
        for name in (here.dialect.dump[0], here.dialect.client):
            program(name, settings.programs)
        mysql_dump.options_for(there, settings.programs)
        left_out = mysql_dump.invalid_views(there)
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
    """Raise where `here` cannot be a replica of `there`. `follows_us`: `there` may follow `here` now."""
    if here.dialect.product != there.dialect.product:
        raise DatastoreRefused(f"{there.where} is of another make than {here.where}")
    if here.value(here.dialect.identity) == there.value(there.dialect.identity):
        raise DatastoreRefused(f"{there.where} is this server itself")
    number = here.value("SELECT @@server_id")
    if number == there.value("SELECT @@server_id"):
        raise DatastoreRefused(f"{there.where} has the same server_id as this server, {number}")
    if not follows_us and any(row["Source_Server_Id"] == number for row in there.replica_status()):
        raise DatastoreRefused(f"{there.where} follows this server: promote it first")
    for session in (here, there):
        if not session.value(session.dialect.can_lead):
            raise DatastoreRefused(f"{session.where} has no binary log with GTIDs, by which replicas follow")
    mysql_mark.check_whole(there)
    check_replicates(there, source)


def check_replicates(there: Session, source: Source) -> None:
    """Raise where the account that this server replicates with may not do so."""
    if source.replication == source.admin:
        lacking = there.lacks("REPLICATION SLAVE")
    else:
        with connect(source.replication, timeout=10) as session:
            lacking = session.lacks("REPLICATION SLAVE")
    if lacking:
        raise DatastoreRefused(f"the user {source.replication.user} lacks REPLICATION SLAVE at {there.where}")


def source_name(row: Row) -> str:
    """A source as people call it: its channel or connection name, and its address."""
    name = str(row.get("Connection_name", row.get("Channel_Name")) or "")
    address = mysql_replication.primary_of(row)
    return f"{name} ({address})" if name else address


def _is_of(row: Row, there: Session, source: Source) -> bool:
    if mysql_replication.primary_of(row) == source.label:
        return True
    return "Source_UUID" in row and row["Source_UUID"] == there.value(there.dialect.identity)


def _place(here: Session, service: Supervisor | None, settings: Settings) -> tuple[Place | None, str | None]:
    """The data directory where the agent may exchange it, and why not."""
    if settings.data_directory is None:
        return None, "datastore.data_directory is not set"
    place = Place(settings.data_directory)
    if place.data != Place.of(here).data:
        raise DatastoreError(f"datastore.data_directory is {place.data}, and the server uses {Place.of(here).data}")
    return place, "[service] is not set" if service is None else place.why_fixed(here)
