"""Whether one MySQL or MariaDB runs, and its way down and up again."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import Session, connect
from agent.hosts.process import Process
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.05
START_LOOK_EVERY = 0.2
START_WAIT = 900.0
"""Seconds that a server gets to come up: it may have much to recover."""
SHOWS_WITHIN = 30.0
"""Seconds after which a service that was started and does not run has ended: its pid file comes late."""


def is_up(address: Address, timeout: float) -> bool:
    try:
        with connect(address, timeout):
            return True
    except DatastoreDown:
        return False
    except DatastoreRefused:
        return True


def shut_down(address: Address, timeout: float, stop: Stop) -> str:
    """SHUTDOWN, and its process is gone: only then is everything on disk."""
    deadline = time.monotonic() + timeout
    with connect(address, timeout) as session:
        where, process = session.where, process_of(session)
        with suppress(DatastoreUnreachable):  # it may hang up rather than answer
            session.run("SHUTDOWN")
    while _still_runs(process, address, timeout):
        if stop.requested:
            raise DatastoreRefused(f"{where} was asked to shut down and goes on with it, unwaited for: {stop.reason}")
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"{where} has not shut down in the time it has; it still may")
        stop.wait(LOOK_EVERY)
    return f"{where} has shut down" if process is None else f"{where} (pid {process.pid}) has shut down"


def bring_up(address: Address, service: Supervisor | None, timeout: float) -> None:
    """Await that it answers, started by `service` where it does not run. Raises `DatastoreDown`."""
    deadline, asked, stop = time.monotonic() + START_WAIT, None, Stop()
    while not _answers(address, timeout):
        if service is None:
            raise DatastoreDown(f"nothing listens at {address}: start it, or set [service] so that the agent can")
        if time.monotonic() > deadline:
            raise DatastoreDown(f"nothing listens at {address} {START_WAIT:g} s after it should have started")
        if service.status(stop).stopped:
            if asked is None:
                service.start(stop)
                asked = time.monotonic()
            elif time.monotonic() > asked + SHOWS_WITHIN:
                raise DatastoreDown(f"{service.subject} was started and has ended again; see the server's error log")
        stop.wait(START_LOOK_EVERY)


def await_end(process: Process | None, address: Address, timeout: float) -> None:
    """Await that this process has ended, or that nothing listens where it is not known."""
    deadline = time.monotonic() + START_WAIT
    while _still_runs(process, address, timeout):
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"the server at {address} has not ended in {START_WAIT:g} s")
        time.sleep(LOOK_EVERY)


def process_of(session: Session) -> Process | None:
    """The server's process by its own pid file; None where we may not read that."""
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
    """Whether it is up for good; one that is on its way is not yet."""
    with suppress(DatastoreUnreachable):
        return is_up(address, timeout)
    return False
