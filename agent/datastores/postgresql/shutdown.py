"""Shut PostgreSQL down: a checkpoint, then SIGINT to the postmaster, like pg_ctl's fast mode."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

from psycopg.errors import InsufficientPrivilege

from agent.datastores.base import DatastoreRefused, DatastoreUnreachable
from agent.datastores.postgresql.connection import Connection, Target, one
from agent.processes.process import Process
from agent.util.stop import Stop


def shut_down(server: Target, data: Path | None, timeout: float, stop: Stop) -> str:
    """Shut the server down and wait until it has ended; see `Datastore.shut_down`."""
    deadline = time.monotonic() + timeout
    with server.connect(stop=stop) as connection:
        postmaster = _postmaster(server, connection, data)
        _checkpoint(connection)
        _interrupt(postmaster)
    if not postmaster.await_end(max(0.0, deadline - time.monotonic()), stop):
        why = stop.reason or "timeout"
        raise DatastoreUnreachable(f"PostgreSQL at {server.address} is still shutting down, and will: {why}")
    return f"PostgreSQL at {server.address} (pid {postmaster.pid}) has shut down"


def _postmaster(server: Target, connection: Connection, data: Path | None) -> Process:
    """The postmaster: the process of the data directory's pid file, which must be the parent of our backend."""
    pidfile = Path(data or one(connection, "SHOW data_directory")) / "postmaster.pid"
    try:
        pid = int(pidfile.read_text().split()[0])
        backend = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
    except (OSError, IndexError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "unexpected content"
        hint = "; the agent must run as the server's user or as root" if isinstance(error, PermissionError) else ""
        raise DatastoreRefused(f"{pidfile} or its process cannot be read: {reason}{hint}") from None
    process = Process.of(pid)
    if process is None or f"\nPPid:\t{pid}\n" not in backend:
        raise DatastoreRefused(f"{pidfile} does not belong to the server at {server.address}")
    return process


def _checkpoint(connection: Connection) -> None:
    """Write a checkpoint to shorten the shutdown; without the permission the shutdown only takes longer."""
    with suppress(InsufficientPrivilege):
        connection.execute("CHECKPOINT")


def _interrupt(postmaster: Process) -> None:
    try:
        postmaster.signal(signal.SIGINT)
    except PermissionError:
        reason = "the agent must run as the server's user or as root to shut it down"
        raise DatastoreRefused(f"pid {postmaster.pid}: {reason}") from None
