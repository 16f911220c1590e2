"""How PostgreSQL is shut down: a checkpoint, then SIGINT to the postmaster, as pg_ctl's fast mode does."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

from psycopg.errors import InsufficientPrivilege

from agent.datastores.base import DatastoreRefused, DatastoreUnreachable
from agent.datastores.postgresql_connection import LOOK_EVERY, Connection, Target, one
from agent.hosts.process import Process
from agent.stop import Stop


def shut_down(server: Target, data: Path | None, timeout: float, stop: Stop) -> str:
    """Shut it down and wait until it has gone; a sentence. The rest is as in the contract."""
    deadline = time.monotonic() + timeout
    with server.connect(stop=stop) as connection:
        postmaster = _postmaster(server, connection, data)
        _checkpoint(connection)
        _interrupt(postmaster)
    while postmaster.alive:
        if stop.requested or time.monotonic() > deadline:
            why = stop.reason or "the time is over"
            raise DatastoreUnreachable(f"PostgreSQL at {server.address} is still shutting down, and will: {why}")
        stop.wait(LOOK_EVERY)
    return f"PostgreSQL at {server.address} (pid {postmaster.pid}) has shut down"


def _postmaster(server: Target, connection: Connection, data: Path | None) -> Process:
    """The process that answers us: the one of the data directory, and the parent of our backend."""
    pidfile = Path(data or one(connection, "SHOW data_directory")) / "postmaster.pid"
    try:
        pid = int(pidfile.read_text().split()[0])
        backend = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
    except (OSError, IndexError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not understood"
        hint = "; the agent must run as the server's user or as root" if isinstance(error, PermissionError) else ""
        raise DatastoreRefused(f"{pidfile} or its process cannot be read: {reason}{hint}") from None
    process = Process.of(pid)
    if process is None or f"\nPPid:\t{pid}\n" not in backend:
        raise DatastoreRefused(f"{pidfile} is not of the server at {server.address}")
    return process


def _checkpoint(connection: Connection) -> None:
    """So that the shutdown has little left to write; where it is not allowed the shutdown just takes longer."""
    with suppress(InsufficientPrivilege):
        connection.execute("CHECKPOINT")


def _interrupt(postmaster: Process) -> None:
    try:
        postmaster.signal(signal.SIGINT)
    except PermissionError:
        reason = "the agent must run as the server's user or as root to shut it down"
        raise DatastoreRefused(f"pid {postmaster.pid}: {reason}") from None
