"""Shut down and start one MySQL or MariaDB, and check whether it runs."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import Session, connect
from agent.processes.process import Process
from agent.util.pauses import Pauses
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

START_WAIT = 900.0
"""Timeout in seconds of a start, which may include a long crash recovery."""
SHOWS_WITHIN = 30.0
"""Seconds after a start in which the service may look stopped: its pid file appears late."""


def is_up(address: Address, timeout: float) -> bool:
    try:
        with connect(address, timeout):
            return True
    except DatastoreDown:
        return False
    except DatastoreRefused:
        return True


def shut_down(address: Address, timeout: float, stop: Stop) -> str:
    """Run SHUTDOWN and wait until the process has ended: only then all data is on disk."""
    deadline = time.monotonic() + timeout
    with connect(address, timeout) as session:
        where, process = session.where, process_of(session)
        with suppress(DatastoreUnreachable):  # it may close the connection instead of answering
            session.run("SHUTDOWN")
    if not poll(lambda: not _still_runs(process, address, timeout), deadline - time.monotonic(), stop):
        if stop.requested:
            raise DatastoreRefused(f"stopped waiting ({stop.reason}); {where} is still shutting down")
        raise DatastoreUnreachable(f"{where} has not shut down within {timeout:g} s; it still may")
    return f"{where} has shut down" if process is None else f"{where} (pid {process.pid}) has shut down"


def bring_up(address: Address, service: Supervisor | None, timeout: float) -> None:
    """Wait until the server answers; start it by `service` if it does not run. Raises `DatastoreDown`."""
    deadline, started, stop = time.monotonic() + START_WAIT, None, Stop()
    pauses = Pauses()
    while not _answers(address, timeout):
        if service is None:
            raise DatastoreDown(f"nothing listens at {address}: start it, or set [service] so that the agent can")
        if time.monotonic() > deadline:
            raise DatastoreDown(f"nothing listens at {address} {START_WAIT:g} s after it should have started")
        if service.status(stop).stopped:
            if started is None:
                service.start(stop)
                started = time.monotonic()
            elif time.monotonic() > started + SHOWS_WITHIN:
                raise DatastoreDown(f"{service.subject} was started and has ended again; see the server's error log")
        stop.wait(pauses.next())


def await_end(process: Process | None, address: Address, timeout: float) -> None:
    """Wait until this process has ended or, if it is unknown, until nothing listens."""
    if not poll(lambda: not _still_runs(process, address, timeout), START_WAIT):
        raise DatastoreUnreachable(f"the server at {address} has not ended in {START_WAIT:g} s")


def process_of(session: Session) -> Process | None:
    """The server's process from its pid file; None without the permission to read it."""
    [row] = session.run("SELECT @@pid_file AS pid_file, @@datadir AS datadir")
    try:
        return Process.of(int(Path(row["datadir"], row["pid_file"]).read_text()))
    except (OSError, ValueError):
        return None


def _still_runs(process: Process | None, address: Address, timeout: float) -> bool:
    return process.alive if process is not None else _listens(address, timeout)


def _listens(address: Address, timeout: float) -> bool:
    try:
        return is_up(address, timeout)
    except DatastoreUnreachable:
        return True


def _answers(address: Address, timeout: float) -> bool:
    """Whether the server is fully up; a starting server is not."""
    with suppress(DatastoreUnreachable):
        return is_up(address, timeout)
    return False
