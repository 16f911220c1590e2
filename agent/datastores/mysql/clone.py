"""Copy one MySQL to another with the clone plugin. MariaDB has no such plugin."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from agent.datastores.base import DatastoreError, DatastoreUnreachable
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import ServerRefused, Session, connect, password_of
from agent.util.poll import poll

RESTART_FAILED = 3707
"""Error number: the copy is complete, and the server shuts down because it cannot restart itself."""
PLUGIN = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'"
PROGRESS = "SELECT SUM(data) AS done, SUM(estimate) AS total FROM performance_schema.clone_progress"
MEASURE_EVERY = 0.5
ENDS_WITHIN = 60.0
"""Seconds that an ended clone gets to return."""
CLONE = "CLONE INSTANCE FROM %s@%s:%s IDENTIFIED BY %s"
Measure = Callable[[int, int | None], None]


def is_offered(here: Session, there: Session) -> bool:
    """Whether both servers have the plugin and the same version, and the agent's users may use it."""
    if here.dialect.product != "MySQL" or here.value("SELECT @@version") != there.value("SELECT @@version"):
        return False
    return _can(here, "CLONE_ADMIN") and _can(there, "BACKUP_ADMIN")


class Clone:
    """One clone of `donor` by the server at `here`, into `directory` or in place of its own data.

    `turn` is the name of the server lock that the clone's session holds: a later resync finds the session by it.
    """

    def __init__(self, here: Address, donor: Address, timeout: float, turn: str, directory: Path | None = None) -> None:
        self._here, self._donor, self._timeout = here, donor, timeout
        self._turn, self._directory = turn, directory
        self._session_id: int | None = None
        self._error: Exception | None = None

    def run(self, measure: Measure, expected: int) -> None:
        """Wait until the clone ends; end the clone if the wait is interrupted. Raises `DatastoreError`.

        After a clone in place the server is shutting down or restarting.
        """
        thread = Thread(target=self._clone, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(MEASURE_EVERY)
                measure(*self._progress(expected))
        except BaseException:
            self._end()
            thread.join(ENDS_WITHIN)
            raise
        if self._error is not None:
            raise self._error

    def _clone(self) -> None:
        try:
            with connect(self._here, self._timeout, patient=True) as session:
                session.wait_for_turn(0, self._turn)
                self._session_id = session.id
                self._run_statements(session)
        except Exception as error:  # raised in the waiting thread
            self._error = error

    def _run_statements(self, session: Session) -> None:
        donor, password = self._donor, password_of(self._donor) or ""
        values: list[object] = [donor.user, donor.host, donor.port, password]
        session.run("SET GLOBAL clone_valid_donor_list = %s", f"{donor.host}:{donor.port}")
        if self._directory is not None:
            session.run(f"{CLONE} DATA DIRECTORY = %s", *values, str(self._directory), secret=password)
            return
        try:
            session.run(CLONE, *values, secret=password)
        except DatastoreUnreachable:
            return  # the server closed the connection for its restart
        except ServerRefused as error:
            if error.number != RESTART_FAILED:
                raise

    def _progress(self, expected: int) -> tuple[int, int | None]:
        """Bytes done and total: by the size of the directory, or, for a clone in place, from the server."""
        if self._directory is not None:
            return size_of(self._directory), expected or None
        with suppress(DatastoreError), connect(self._here, self._timeout) as session:
            [row] = session.run(PROGRESS)
            if row["total"]:
                return int(row["done"] or 0), int(row["total"])
        return 0, expected or None

    def _end(self) -> None:
        with suppress(DatastoreError), connect(self._here, self._timeout) as session:
            session.run("KILL %s", self._session_id)


def end_earlier(session: Session, turn: str) -> None:
    """End the clone of a killed resync, which continues in the server.

    Returns when the clone no longer writes, at the latest after `ENDS_WITHIN` seconds.
    """

    def ended() -> bool:
        if (holder := session.value("SELECT IS_USED_LOCK(%s)", turn)) is None:
            return True
        with suppress(ServerRefused):  # the clone has ended meanwhile
            session.run("KILL %s", holder)
        return False

    poll(ended, ENDS_WITHIN)


def size_of(directory: Path) -> int:
    """Disk usage in bytes of the files below a directory."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _can(session: Session, privilege: str) -> bool:
    return bool(session.value(PLUGIN)) and not session.lacks(privilege)
