"""A fresh copy of a pair of PostgreSQL servers for each test, and a resync of one of them without an agent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agent import config, supervisors
from agent.datastores.base import Datastore
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from agent.plan import Plan
from agent.supervisors.base import Supervisor
from tests.datastores.postgresql_nodes import FOR_RESYNC, await_value, datastore_of, document
from tests.datastores.reports import into
from tests.servers.postgresql import PostgresServer
from tests.servers.process import run

Pair = tuple[PostgresServer, PostgresServer]
FORCED = ResyncRequest(force=True)
MOUNT = "size=600m,mode=0755"
SUM = "SELECT sum(x) FROM t"


@contextmanager
def diverged_pair(directory: Path, programs: Path | None = None) -> Iterator[Pair]:
    """The data of an old primary that was killed with a row of its own (100), and of its promoted replica (1, 2)."""
    with healthy_pair(directory, programs) as (old, new):
        old.start()
        new.start()
        new.psql("SELECT pg_promote(true, 30)")
        old.psql("INSERT INTO t VALUES (100)")
        old.kill()
        new.psql("INSERT INTO t VALUES (2)")
        new.stop()
        yield old, new


@contextmanager
def healthy_pair(directory: Path, programs: Path | None = None) -> Iterator[Pair]:
    """The data of a primary with a row (1) and of its replica, both shut down."""
    with (
        PostgresServer(directory / "a", bin=programs) as primary,
        closing(primary.replica(directory / "b")) as replica,
    ):
        primary.psql(FOR_RESYNC)
        primary.psql("CREATE TABLE t AS SELECT 1 AS x")
        await_value(replica, SUM, "1")
        replica.stop()
        primary.psql("SELECT pg_drop_replication_slot('replica')")
        primary.stop()
        yield primary, replica


def copy_of(server: PostgresServer, directory: Path) -> PostgresServer:
    """Another server with the same data and passwords."""
    copy = PostgresServer(directory, bin=server.bin)
    copy.password, copy.replication_password = server.password, server.replication_password
    run(["cp", "-a", server.data, copy.data])
    with (copy.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("primary_slot_name = ''\n")
    return copy


def driver(server: PostgresServer, primary: PostgresServer, **options: Any) -> tuple[Datastore, Supervisor]:
    """The datastore that is to follow `primary`, and its service."""
    parsed = config.parse(document(server, primary, **options))
    assert parsed.service
    return datastore_of(server, **document(server, primary, **options)["datastore"]), supervisors.of(parsed.service)


def plan(server: PostgresServer, primary: PostgresServer, request: ResyncRequest = FORCED, **options: Any) -> Plan:
    """The plan of a resync in this process."""
    datastore, service = driver(server, primary, **options)
    return datastore.plan_resync(service, request)


def resync(
    server: PostgresServer,
    primary: PostgresServer,
    request: ResyncRequest = FORCED,
    *,
    progress: ResyncProgress | None = None,
    **options: Any,
) -> tuple[Any, list[str]]:
    """A resync in this process; its result and phases."""
    phases: list[str] = []
    datastore, service = driver(server, primary, **options)
    result = datastore.resync(service, progress or into(phases), request)
    return result, list(dict.fromkeys(phases))  # without the measurements of a phase


def resync_killed(phase: str, server: PostgresServer, primary: PostgresServer, request: ResyncRequest = FORCED) -> None:
    """A resync in a separate process, which kills itself at the begin of the phase."""

    def report(report: Report) -> None:
        if report.phase == phase:
            os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        try:
            resync(server, primary, request, progress=ResyncProgress(report))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the phase {phase} was not met"


def assert_follows(server: PostgresServer, primary: PostgresServer) -> None:
    """Assert that it has all rows of its primary, gets the next, and has no leftovers of the resync beside it."""
    assert server.psql("SELECT pg_is_in_recovery()") == "t"
    primary.psql("INSERT INTO t VALUES (4)")
    await_value(server, SUM, primary.psql(SUM))
    left = sorted(path.name for path in server.dir.glob("data*"))
    assert left == ["data", "data.primary.pgpass"], left


def age(server: PostgresServer) -> str:
    """Start time of the server, which shows whether it was restarted."""
    return server.psql("SELECT pg_postmaster_start_time()")


@contextmanager
def on_a_mount(place: Path) -> Iterator[Path]:
    """A separate file system that can be filled."""
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", MOUNT, "tmpfs", place])
    try:
        yield place
    finally:
        run(["umount", place])
