"""The resync of a PostgreSQL: pg_rewind, and where that does not do pg_basebackup, until it follows its primary."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.config import Datastore as Settings
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.postgresql_connection import Target, all_of, one
from agent.datastores.postgresql_files import DataDirectory
from agent.datastores.postgresql_primary import Primary, primary_of
from agent.hosts.command import Outcome
from agent.models import Json
from agent.stop import Stop
from agent.supervisors.base import SupervisorFailed

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.1
PATIENCE = 60.0
"""Seconds that a server may stand still on its way to follow, be it in its start or in what it has replayed."""
STOPPING = 600.0
"""Seconds that its service may take to stop."""
STARTING = 3.0
"""Seconds after which a service that is stopped has ended, and does not begin to start."""
LET_GO = 5.0
"""Seconds that the primary may take to see that a replica has gone."""
SAID = 500
KEEP_WAL = "wal_keep_size=1000000"
"""For the recovery: pg_rewind needs what the server wrote before the two parted."""
SLOT = "SELECT active FROM pg_replication_slots WHERE slot_name = %s AND slot_type = 'physical'"

PRIMARY = """
    SELECT pg_is_in_recovery(), current_setting('server_version_num')::int / 10000, pg_postmaster_start_time(),
           (SELECT count(*) FROM pg_tablespace) - 2
"""
PROGRESS = """
    SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
           COALESCE(pg_last_wal_replay_lsn() >= %s::pg_lsn, false), pg_last_wal_replay_lsn()::text, pg_is_in_recovery()
"""


class NotThisWay(Exception):
    """It could not be done like this; the message says why."""


def resync(
    settings: Settings, server: Target, service: Supervisor | None, progress: Callable[[str], None], node: str
) -> Json:
    """Rebuild the server and wait until it follows. Raises `DatastoreError`, `SupervisorFailed`, `OSError`."""
    if service is None:
        raise DatastoreError("set [service] in the configuration: a resync stops the server and starts it again")
    if settings.data_directory is None:
        raise DatastoreError(
            "set datastore.data_directory in the configuration: a resync works there while the server is down"
        )
    data = DataDirectory(settings.data_directory, settings.programs)
    data.end_left_over()
    data.check()
    primary = primary_of(settings, server, data, node)
    return Resync(data, server, primary, service, progress).run()


class Resync:
    """One resync, once it is known from whom and where."""

    def __init__(
        self,
        data: DataDirectory,
        server: Target,
        primary: Primary,
        service: Supervisor,
        progress: Callable[[str], None],
    ) -> None:
        self.data, self.server, self.primary = data, server, primary
        self.service, self.progress = service, progress
        self.slot = ""

    def run(self) -> Json:
        self.progress("looking at the primary")
        tablespaces = self._check()
        self.progress("stopping the server")
        self._stop()
        self.slot = self._usable_slot()
        self.data.begin()
        method, reason = "pg_rewind", ""
        try:
            self._rewind()
        except NotThisWay as why:
            method, reason = "pg_basebackup", str(why)
            self._copy(reason, tablespaces)
        self.progress("removing what is left over")
        self.data.finish()
        return {
            "method": method,
            "instead_of_pg_rewind": reason or None,
            "primary": self.primary.target.address,
            "slot": self.slot or None,
        }

    def _check(self) -> int:
        """Whether this is the primary to follow; how many tablespaces it has besides the usual two."""
        with self.primary.target.connect() as connection:
            row: Any = connection.execute(PRIMARY).fetchone()
        recovers, major, started, tablespaces = row
        where = self.primary.target.address
        if recovers:
            raise DatastoreRefused(f"{where} is not a primary: it recovers")
        if str(major) != self.data.major:
            raise DatastoreRefused(f"{where} is a PostgreSQL {major} and this one is {self.data.major}")
        with suppress(DatastoreRefused, DatastoreUnreachable), self.server.connect() as connection:
            if one(connection, "SELECT pg_postmaster_start_time()") == started:
                raise DatastoreError(f"{where} is this very server: datastore.primary must be another")
        return int(tablespaces)

    def _usable_slot(self) -> str:
        """The slot, where the primary has it and nobody else uses it; ours is let go soon after the stop."""
        deadline = time.monotonic() + LET_GO
        while self.primary.slot:
            with self.primary.target.connect() as connection:
                active = all_of(connection, SLOT, self.primary.slot)
            if active == [False]:
                return self.primary.slot
            if not active or time.monotonic() > deadline:
                break
            time.sleep(LOOK_EVERY)
        return ""

    # pg_rewind

    def _rewind(self) -> None:
        """Raises `NotThisWay`, and then the data is there no more or is not to be used."""
        if not self.data.data.exists():
            raise NotThisWay("an earlier resync was interrupted and left no data to rewind")
        self._recover()
        self.progress("pg_rewind")
        self._checkpoint()
        directory = self.data.take()
        outcome = self.data.run(
            "pg_rewind", f"--target-pgdata={directory}", f"--source-server={self.primary.conninfo_with_database()}"
        )
        if not outcome.ok:
            raise NotThisWay(_told(outcome))
        self.data.make_standby(directory, self._settings())
        self.data.put(directory)
        self._start()
        self._await_following()

    def _recover(self) -> None:
        """pg_rewind takes a server that was shut down; one that was killed recovers first."""
        state = self.data.run("pg_controldata", str(self.data.data)).stdout
        if "state:               shut down" in state:
            return
        self.progress("recovering from a crash")
        config = self.data.config_file
        options = ["-c", f"config_file={config}"] if config else []
        options += ["-c", KEEP_WAL]
        outcome = self.data.run("postgres", "--single", "-D", str(self.data.data), *options, "template1")
        if not outcome.ok:
            raise NotThisWay(f"it was not shut down cleanly and does not recover: {_told(outcome)}")

    def _checkpoint(self) -> None:
        """Up to PostgreSQL 15 a primary that was just promoted tells its new timeline only after one."""
        with suppress(DatastoreRefused), self.primary.target.connect() as connection:
            connection.execute("CHECKPOINT")

    # pg_basebackup

    def _copy(self, reason: str, tablespaces: int) -> None:
        self._check_copy(reason, tablespaces)
        self._stop()
        self.progress("pg_basebackup")
        directory = self.data.remove("new")
        slot = [f"--slot={self.slot}"] if self.slot else []
        outcome = self.data.run(
            "pg_basebackup", f"--pgdata={directory}", f"--dbname={self.primary.conninfo}",
            "--wal-method=stream", "--checkpoint=fast", "--no-password", *slot,
        )  # fmt: skip
        if not outcome.ok:
            raise DatastoreError(f"pg_rewind: {reason}; pg_basebackup: {_told(outcome)}")
        self.data.make_standby(directory, self._settings())
        self.data.put(directory)
        try:
            self._start()
            self._await_following()
        except NotThisWay as why:
            raise DatastoreError(f"it was copied anew and does not follow: {why}") from None

    def _check_copy(self, reason: str, tablespaces: int) -> None:
        """What a copy would put where other data may be."""
        if tablespaces > 0:
            raise DatastoreError(
                f"pg_rewind: {reason}; and no copy is made of a primary with tablespaces, which would lie outside of it"
            )

    # The server

    def _settings(self) -> dict[str, str]:
        return {"primary_conninfo": self.primary.conninfo, "primary_slot_name": self.slot}

    def _stop(self) -> None:
        """Raises `DatastoreError` where it is not down in the end."""
        if not self.service.status(Stop()).stopped:
            self.service.stop(Stop())
        deadline = time.monotonic() + STOPPING
        while not self.service.status(Stop()).stopped:
            if time.monotonic() > deadline:
                raise DatastoreError(f"its service {self.service.subject} has not stopped in {STOPPING:g} s")
            time.sleep(LOOK_EVERY)
        if self.server.is_up():
            raise DatastoreError(
                f"PostgreSQL at {self.server.address} still runs, its service is stopped: [service] is not its service"
            )

    def _start(self) -> None:
        self.progress("starting the server")
        try:
            self.service.start(Stop())
        except SupervisorFailed as error:
            raise NotThisWay(f"it does not start: {error}") from None

    def _await_following(self) -> None:
        """Until it streams and has replayed what the primary had written by now. Raises `NotThisWay`."""
        self.progress("waiting until it follows")
        with self.primary.target.connect() as connection:
            goal = one(connection, "SELECT pg_current_wal_flush_lsn()::text")
        seen: Any = None
        changed = time.monotonic()
        while True:
            looked = self._look(goal)
            if looked is not None and looked[:2] == (True, True) and self.service.status(Stop()).running:
                return
            if looked != seen:
                seen, changed = looked, time.monotonic()
            if time.monotonic() > changed + PATIENCE:
                raise NotThisWay(f"it does not follow its primary, and stands still at {seen and seen[2]}")
            if looked is None and time.monotonic() > changed + STARTING and self.service.status(Stop()).stopped:
                raise NotThisWay("it starts and ends at once")
            time.sleep(LOOK_EVERY)

    def _look(self, goal: str) -> tuple[Any, ...] | None:
        """How far it is; None while it cannot be asked."""
        try:
            with self.server.connect() as connection:
                return connection.execute(PROGRESS, (goal,)).fetchone()
        except DatastoreError:
            return None


def _told(outcome: Outcome) -> str:
    """How a program ended, with its last words and without its arguments."""
    said = " ".join((outcome.stderr.strip() or outcome.stdout.strip())[-SAID:].split())
    return said or outcome.describe()
