"""Everything of one MySQL in another by the clone plugin, which MariaDB has not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from agent.datastores.base import DatastoreError, DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import ServerRefused, Session, connect, password_of

RESTART_FAILED = 3707
"""The copy is there; the server cannot start itself again and ends."""
PLUGIN = "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone' AND plugin_status = 'ACTIVE'"
PROGRESS = "SELECT SUM(data) AS done, SUM(estimate) AS total FROM performance_schema.clone_progress"
MEASURE_EVERY = 0.5
LOOK_EVERY = 0.1
ENDS_WITHIN = 60.0
"""Seconds for a clone that was ended to return."""
CLONE = "CLONE INSTANCE FROM %s@%s:%s IDENTIFIED BY %s"
Measure = Callable[[int, int | None], None]


def is_offered(here: Session, there: Session) -> bool:
    """Whether both have the plugin and are of the same version, and our users there and here may use it."""
    if here.dialect.product != "MySQL" or here.value("SELECT @@version") != there.value("SELECT @@version"):
        return False
    return _can(here, "CLONE_ADMIN") and _can(there, "BACKUP_ADMIN")


class Clone:
    """One clone of `donor` by the server at `here`, into `directory` or in the place of all its data.

    `turn` is the server's lock that the session of the clone holds, by which a later resync finds it.
    """

    def __init__(self, here: Address, donor: Address, timeout: float, turn: str, directory: Path | None = None) -> None:
        self._here, self._donor, self._timeout = here, donor, timeout
        self._turn, self._directory = turn, directory
        self._session_id: int | None = None
        self._error: Exception | None = None

    def run(self, measure: Measure, expected: int) -> None:
        """Await the end of the clone; it is ended where we are. Raises `DatastoreError`.

        In place the server is then on its way down, or up again.
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
                self._ask(session)
        except Exception as error:  # passed on to the thread that waits
            self._error = error

    def _ask(self, session: Session) -> None:
        donor, password = self._donor, password_of(self._donor) or ""
        values: list[object] = [donor.user, donor.host, donor.port, password]
        session.run("SET GLOBAL clone_valid_donor_list = %s", f"{donor.host}:{donor.port}")
        if self._directory is not None:
            session.run(f"{CLONE} DATA DIRECTORY = %s", *values, str(self._directory), secret=password)
            return
        try:
            session.run(CLONE, *values, secret=password)
        except DatastoreUnreachable:
            return  # it hung up to start itself again
        except ServerRefused as error:
            if error.number != RESTART_FAILED:
                raise

    def _progress(self, expected: int) -> tuple[int, int | None]:
        """Bytes done and in all: as the server says, else by the size of what is there."""
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
    """End the clone of a resync that was killed: it continues in the server.

    Returns when the clone has ended and no longer writes, at the latest after `ENDS_WITHIN` seconds.
    """
    deadline = time.monotonic() + ENDS_WITHIN
    while (holder := session.value("SELECT IS_USED_LOCK(%s)", turn)) is not None and time.monotonic() < deadline:
        with suppress(ServerRefused):  # it has ended meanwhile
            session.run("KILL %s", holder)
        time.sleep(LOOK_EVERY)


def size_of(directory: Path) -> int:
    """Bytes that the files below a directory take up on disk."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _can(session: Session, privilege: str) -> bool:
    return bool(session.value(PLUGIN)) and not session.lacks(privilege)
