"""Whatever ends a resync of PostgreSQL in whatever phase: the new data follows, or the old data serves as before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.datastores import postgresql_service
from agent.datastores.base import DatastoreError, Terminated
from agent.datastores.progress import Progress
from agent.datastores.requests import ResyncRequest
from agent.supervisors.base import SupervisorFailed
from tests.datastores import killed_resync
from tests.datastores.postgresql_nodes import await_value, configured
from tests.datastores.postgresql_pairs import SUM, Pair, copy_of, diverged_pair, driver, healthy_pair, resync
from tests.servers.postgresql import PostgresServer
from tests.servers.process import run

REWIND = ("stopping the server", "copying the data directory", "pg_rewind", "switching to the new data",
          "starting the server", "waiting until it follows", "removing the old data")  # fmt: skip
COPY = ("pg_basebackup", "switching to the new data", "starting the server", "waiting until it follows",
        "removing the old data")  # fmt: skip
PHASES = {
    "follow": ("pointing at the primary", "waiting until it follows"),
    "start": ("starting the server", "waiting until it follows"),
    "rewind": REWIND,
    "copy": COPY,
}
WRITES = ("copying the data directory", "pg_rewind", "pg_basebackup", "switching to the new data")
FAULTS: dict[str, Callable[[str], bool]] = {
    "disk full": lambda phase: phase in WRITES,
    "primary killed": lambda phase: phase not in ("stopping the server", "removing the old data"),
    "job killed -9": lambda phase: True,
    "ended on request": lambda phase: True,
    "wrong grants": lambda phase: phase in ("pg_rewind", "pg_basebackup", "waiting until it follows"),
}
PATIENCE = 3.0
MOUNT = "size=600m,mode=0755"


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
    with healthy_pair(module_dir / "healthy") as pair:
        yield pair


@pytest.mark.parametrize("method", PHASES)
def test_never_neither(
    method: str, diverged: Pair, healthy: Pair, server_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_service, "PATIENCE", PATIENCE)
    cells = [Cell(method, phase, fault) for phase in PHASES[method] for fault in FAULTS if FAULTS[fault](phase)]
    outcomes = {}
    for number, cell in enumerate(cells):
        server, primary = diverged if method == "rewind" else (healthy[1], healthy[0])
        with _on_a_mount(server_dir / str(number)) as place, ExitStack() as ends:
            pair = [copy_of(each, place / each.dir.name) for each in (server, primary)]
            for each in pair:
                ends.enter_context(closing(each))
            outcomes[cell] = _outcome(cell, pair[0], pair[1], place)
    for cell, outcome in outcomes.items():
        print(f"{cell.method:8} {cell.phase:28} {cell.fault:18} {outcome}")
    print(f"{method}: {len(outcomes)} cells")
    assert not {cell: outcome for cell, outcome in outcomes.items() if outcome.startswith("NEITHER")}


def _outcome(cell: Cell, server: PostgresServer, primary: PostgresServer, place: Path) -> str:
    """What is there after a fault, with the message of the resync."""
    primary.start()
    if cell.method != "start":
        server.start()
    request = ResyncRequest(force=True, mode="copy" if cell.method == "copy" else "auto")
    rows = server.psql(SUM) if server.pid else None
    message = _faulty(cell, server, primary, request, place)
    if cell.fault == "primary killed":
        primary.start()
    return f"{_serves(cell, server, primary, rows)}: {message}"


def _faulty(cell: Cell, server: PostgresServer, primary: PostgresServer, request: ResyncRequest, place: Path) -> str:
    """Resync with the fault; what the action would say."""
    if cell.fault == "job killed -9":
        settings = server.dir / "agent.toml"
        settings.write_text(configured(server, primary))
        argv = [sys.executable, killed_resync.__file__, str(settings), cell.phase]
        given = json.dumps(asdict(request))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        job = subprocess.run(argv, input=given, capture_output=True, text=True, env=environment, timeout=120)
        assert job.returncode == -9, job.stderr
        datastore, service = driver(server, primary)
        return str(datastore.recover(service))
    fault = _Fault(cell, primary, place)
    try:
        resync(server, primary, request, progress=Progress(fault.report))
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

    def report(self, state: dict[str, Any]) -> None:
        if self.happened or state["phase"] != self.cell.phase:
            return
        self.happened = True
        if self.cell.fault == "ended on request":
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


@contextmanager
def _on_a_mount(place: Path) -> Iterator[Path]:
    """A file system of the test's own, so that it can be full."""
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", MOUNT, "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", place])
