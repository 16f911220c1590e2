"""Any fault in any phase of a resync of PostgreSQL: the new data follows, or the old data serves as before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql import service as postgresql_service
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from agent.datastores.termination import Terminated
from agent.supervisors.base import SupervisorFailed
from tests.datastores.postgresql_nodes import await_value
from tests.datastores.postgresql_pairs import (
    SUM,
    Pair,
    copy_of,
    diverged_pair,
    driver,
    healthy_pair,
    on_a_mount,
    resync,
    resync_killed,
)
from tests.servers.postgresql import PostgresServer

REWIND = ("stopping the server", "copying the data directory", "pg_rewind", "switching to the new data",
          "starting the server", "waiting until it follows", "removing the old data")  # fmt: skip
COPY = ("pg_basebackup", "switching to the new data", "starting the server", "waiting until it follows",
        "removing the old data")  # fmt: skip
PHASES = {
    "follow": ("setting the new source", "waiting until it follows"),
    "start": ("starting the server", "waiting until it follows"),
    "rewind": REWIND,
    "copy": COPY,
}
WRITES = ("copying the data directory", "pg_rewind", "pg_basebackup", "switching to the new data")
FAULTS: dict[str, Callable[[str], bool]] = {
    "disk full": lambda phase: phase in WRITES,
    "primary killed": lambda phase: phase not in ("stopping the server", "removing the old data"),
    "job killed -9": lambda phase: True,
    "cancelled": lambda phase: True,
    "wrong grants": lambda phase: phase in ("pg_rewind", "pg_basebackup", "waiting until it follows"),
}
PATIENCE = 3.0
NOWHERE = "host=127.0.0.1 port=1 user=replicator"


@dataclass(frozen=True)
class Cell:
    method: str
    phase: str
    fault: str


@pytest.fixture(scope="module")
def diverged(module_dir: Path) -> Iterator[Pair]:
    with diverged_pair(module_dir / "diverged") as pair:
        yield pair


@pytest.fixture(scope="module")
def healthy(module_dir: Path) -> Iterator[Pair]:
    with healthy_pair(module_dir / "healthy") as (primary, replica):
        yield replica, primary


@pytest.mark.parametrize("method", PHASES)
def test_any_fault_in_any_phase_leaves_the_old_data_or_new_data_that_follows(
    method: str, diverged: Pair, healthy: Pair, server_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_service, "PATIENCE", PATIENCE)
    monkeypatch.setattr(postgresql_service, "STARTING", PATIENCE / 3)
    cells = [Cell(method, phase, fault) for phase in PHASES[method] for fault in FAULTS if FAULTS[fault](phase)]
    outcomes = {}
    template = diverged if method == "rewind" else healthy
    with on_a_mount(server_dir / "mount") as place, Scene(method, template) as scene:
        for cell in cells:
            outcomes[cell] = _outcome(cell, *scene.ready(place), place)
            scene.keep_if(outcomes[cell].startswith("old"))
    for cell, outcome in outcomes.items():
        print(f"{cell.method:8} {cell.phase:28} {cell.fault:18} {outcome}")
    print(f"{method}: {len(outcomes)} cells")
    assert not {cell: outcome for cell, outcome in outcomes.items() if outcome.startswith("NEITHER")}


class Scene:
    """The server to resync and its primary. The pair that a cell left with the old data in use is used again."""

    def __init__(self, method: str, template: Pair) -> None:
        self.method, self.template = method, template
        self.pair: Pair | None = None

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep_if(False)

    def keep_if(self, as_before: bool) -> None:
        for each in () if as_before else self.pair or ():
            each.close()
        self.pair = self.pair if as_before else None

    def ready(self, place: Path) -> Pair:
        """Both run; with `start` the server is down, and with `follow` it follows a server that does not exist."""
        if self.pair is None:
            server, primary = (copy_of(each, place / each.dir.name) for each in self.template)
            self.pair = server, primary
        server, primary = self.pair
        for each in self.pair:
            if each.pid is None:
                each.start()
        if self.method in ("follow", "start"):
            server.psql(f"ALTER SYSTEM SET primary_conninfo = '{NOWHERE}'")
            server.psql("SELECT pg_reload_conf()")
            await_value(server, "SELECT count(*) FROM pg_stat_wal_receiver", "0")
        if self.method == "start":
            server.stop()
        return self.pair


def _outcome(cell: Cell, server: PostgresServer, primary: PostgresServer, place: Path) -> str:
    """Which data serves after a fault, with the message of the resync."""
    request = ResyncRequest(force=True, mode="copy" if cell.method == "copy" else "auto")
    rows = server.psql(SUM) if server.pid else None
    message = _faulty(cell, server, primary, request, place)
    if primary.pid is None:
        primary.start()
    return f"{_serves(cell, server, primary, rows)}: {message}"


def _faulty(cell: Cell, server: PostgresServer, primary: PostgresServer, request: ResyncRequest, place: Path) -> str:
    """Resync with the fault; returns the message of the action."""
    if cell.fault == "job killed -9":
        resync_killed(cell.phase, server, primary, request)
        datastore, service = driver(server, primary)
        return str(datastore.recover(service))
    fault = _Fault(cell, primary, place)
    try:
        resync(server, primary, request, progress=ResyncProgress(fault.report))
    except (DatastoreError, SupervisorFailed, OSError) as error:
        return str(error)
    finally:
        fault.end()
    return "done all the same"


class _Fault:
    """Happens once, as the phase begins."""

    def __init__(self, cell: Cell, primary: PostgresServer, place: Path) -> None:
        self.cell, self.primary, self.happened = cell, primary, False
        self.filler = place / "filler"

    def report(self, report: Report) -> None:
        if self.happened or report.phase != self.cell.phase:
            return
        self.happened = True
        if self.cell.fault == "cancelled":
            raise Terminated
        if self.cell.fault == "primary killed":
            self.primary.kill()
        elif self.cell.fault == "wrong grants":
            self.primary.psql("ALTER ROLE replicator NOLOGIN NOREPLICATION")
            self.primary.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        elif self.cell.fault == "disk full":
            self._fill()

    def _fill(self) -> None:
        left = os.statvfs(self.filler.parent)
        with self.filler.open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, left.f_bavail * left.f_frsize)

    def end(self) -> None:
        self.filler.unlink(missing_ok=True)
        if self.cell.fault == "wrong grants":
            self.primary.psql("ALTER ROLE replicator LOGIN REPLICATION")


def _serves(cell: Cell, server: PostgresServer, primary: PostgresServer, rows: str | None) -> str:
    """`new` follows, `old` serves as before (or is down as before), or NEITHER."""
    left = [path.name for path in server.dir.glob("data.resync*")]
    if not left and server.pid is None and cell.method == "start" and (server.data / "PG_VERSION").exists():
        server.start()
        assert server.psql(SUM) == "1"
        return "old"
    if left or server.pid is None:
        return f"NEITHER ({left}, {server.log_tail(300)})"
    if server.psql("SELECT pg_is_in_recovery()") == "t" and server.psql(
        "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
    ) == "1":  # fmt: skip
        await_value(server, SUM, primary.psql(SUM))
        return "new"
    return "old" if server.psql(SUM) == rows else "NEITHER"
