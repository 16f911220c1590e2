"""One MySQL or MariaDB is rebuilt from its primary: by a clone where there is one, else by a dump."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from agent.config import Datastore as Settings
from agent.datastores import mysql_clone, mysql_databases, mysql_dump, mysql_life, mysql_replication
from agent.datastores.base import DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import Row, Session, connect
from agent.models import Json

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

TURN = "agent.resync"
"""The server's lock of the session that clones."""
SETTLE = 6.0
"""Seconds that a server which an earlier resync left marked must stay up before it is believed to."""
PATIENCE = 30.0
"""Seconds in which this server and its primary must answer at the same time, so that it can begin."""
LOOK_EVERY = 0.1
MARK = "agent_resync_incomplete"
"""The database that is there while the data is not whole. What is read in from a dump leaves it alone."""
MARK_ACCOUNT = ("agent_resync_incomplete", "255.255.255.255")
"""Says the same: a clone drops all databases at its beginning and replaces the accounts at its end."""

NEEDED = ("SELECT", "RELOAD", "PROCESS", "LOCK TABLES", "SHOW VIEW", "EVENT", "TRIGGER", "REPLICATION SLAVE")
"""What the user of the primary must hold there, to dump all of it and to follow."""


class Resync:
    """The rebuilding of the server at `here`. Where no primary is given it is the one that is followed."""

    def __init__(
        self,
        settings: Settings,
        here: Address,
        primary: Address | None,
        service: Supervisor | None,
        progress: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._here = here
        self._primary = primary
        self._service = service
        self._progress = progress

    def run(self) -> Json:
        primary, by_clone = self._prepare()
        if by_clone:
            self._clone(primary)
        else:
            self._dump(primary)
        return {"primary": str(primary), "method": "clone" if by_clone else "dump", **self._follow(primary)}

    def _prepare(self) -> tuple[Address, bool]:
        """The primary, and whether it can be cloned. Nothing is touched; a server that goes down here is brought up."""
        deadline = time.monotonic() + PATIENCE
        while True:
            self._bring_up()
            try:
                self._await_earlier()
                primary = self._find_primary()
                return primary, self._check(primary)
            except DatastoreUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_EVERY)

    def _bring_up(self) -> None:
        self._progress("awaiting this server")
        mysql_life.bring_up(self._here, self._service, self._settings.timeout)

    def _await_earlier(self) -> None:
        """A clone whose resync was killed goes on in the server, which ends itself shortly after that."""
        with connect(self._here, self._settings.timeout, patient=True) as session:
            session.wait_for_turn(mysql_life.START_WAIT, TURN)
            settled = time.monotonic() + SETTLE
            while is_marked(session) and time.monotonic() < settled:
                time.sleep(LOOK_EVERY)

    def _find_primary(self) -> Address:
        if self._primary is not None:
            return self._primary
        with self._connect(self._here) as session:
            followed = session.replica_status()
            if len(followed) != 1:
                raise DatastoreRefused(f"{session.where} knows of no primary: set datastore.primary")
        if self._settings.primary_password_file is None:
            raise DatastoreRefused("set datastore.primary_password_file, or datastore.primary to another user's url")
        return _followed(followed[0], self._settings)

    def _check(self, primary: Address) -> bool:
        """Raise where the primary cannot be one for this server; returns whether it can be cloned."""
        self._progress("checking the primary")
        with self._connect(self._here) as here, self._connect(primary) as there:
            check_can_lead(here, there)
            check_may_read(there)
            # A clone ends this server, and somebody must start it again.
            return self._service is not None and mysql_clone.is_offered(here, there)

    def _clone(self, primary: Address) -> None:
        """Once more where it came to nothing: a clone that an earlier resync left ends the server, in ours too."""
        with suppress(DatastoreUnreachable):
            if self._has_cloned(primary):
                return
        self._bring_up()
        if not self._has_cloned(primary):
            raise DatastoreRefused(f"the server at {self._here} came up again without the data of its primary")

    def _has_cloned(self, primary: Address) -> bool:
        with connect(self._here, self._settings.timeout, patient=True) as session:
            process = mysql_life.process_of(session)
            session.wait_for_turn(0, TURN)
            self._begin(session)
            self._progress("cloning the primary")
            mysql_clone.run(session, primary)
        self._progress("restarting this server")
        mysql_life.await_end(process, self._here, self._settings.timeout)
        self._bring_up()
        with self._connect(self._here) as session:
            return not is_marked(session)

    def _dump(self, primary: Address) -> None:
        self._progress("awaiting the dump")
        with self._connect(self._here) as session:
            dialect = session.dialect
        mysql_dump.copy(
            dialect, primary, self._here, self._settings.programs, begin=self._make_room, told=self._tell_copied
        )
        with self._connect(self._here) as session:
            session.keep_out_of_binary_log()
            unmark(session)

    def _make_room(self) -> None:
        """Delete all databases and GTIDs, so that those of the primary can come."""
        with connect(self._here, self._settings.timeout, patient=True) as session:
            self._begin(session)
            self._progress("deleting the old data")
            for name in mysql_databases.names(session):
                if name != MARK and not mysql_databases.is_system(name):
                    mysql_databases.delete(session, name, force=True, patience=self._settings.timeout)
            for statement in session.dialect.empty_binary_logs:
                session.run(statement)
        self._progress("copying the data")

    def _begin(self, session: Session) -> None:
        """From here on the data is not whole. Others cannot write, also after a restart where that can be kept."""
        mysql_replication.pause(session)
        session.run(session.dialect.make_read_only)
        session.run(session.dialect.make_resyncable)
        session.keep_out_of_binary_log()
        mark(session)

    def _follow(self, primary: Address) -> dict[str, str]:
        self._progress("awaiting that it follows its primary")
        with self._connect(self._here) as session:
            mysql_replication.follow(session, primary, self._settings.timeout)
            return dict(session.dialect.kept)

    def _tell_copied(self, copied: int) -> None:
        self._progress(f"copying the data: {copied >> 20} MiB")

    def _connect(self, address: Address) -> AbstractContextManager[Session]:
        return connect(address, self._settings.timeout)


def check_can_lead(here: Session, there: Session) -> None:
    """Raise where `here` would not be a replica of `there` after it was rebuilt from it."""
    if here.dialect.product != there.dialect.product:
        raise DatastoreRefused(f"{there.where} is of another make than {here.where}")
    if here.value(here.dialect.identity) == there.value(there.dialect.identity):
        raise DatastoreRefused(f"{there.where} is this server itself")
    number = here.value("SELECT @@server_id")
    if number == there.value("SELECT @@server_id"):
        raise DatastoreRefused(f"{there.where} has the same server_id as this server, {number}")
    if any(row["Source_Server_Id"] == number for row in there.replica_status()):
        raise DatastoreRefused(f"{there.where} follows this server: promote it first")
    for session in (here, there):
        if not session.value(session.dialect.can_lead):
            raise DatastoreRefused(f"{session.where} has no binary log with GTIDs, by which replicas follow")
    check_whole(there)


def check_may_read(there: Session) -> None:
    """Raise where a dump would leave out what its user cannot see, which is no error to the program."""
    if lacking := there.lacks(*NEEDED):
        raise DatastoreRefused(f"the user of datastore.primary lacks {', '.join(lacking)} at {there.where}")


def check_whole(session: Session) -> None:
    """Raise where the data is not whole: whoever relies on it, or writes to it, loses by that."""
    if is_marked(session):
        raise DatastoreRefused(f"{session.where} is not whole: its resync is incomplete")


def is_marked(session: Session) -> bool:
    if mysql_databases.exists(session, MARK):
        return True  # the accounts may not be there to be asked for
    user, host = MARK_ACCOUNT
    return {"user": user, "host": host} in session.run(session.dialect.users)


def mark(session: Session) -> None:
    session.run("CREATE DATABASE IF NOT EXISTS {}", names=[MARK])
    session.run("CREATE USER IF NOT EXISTS %s@%s ACCOUNT LOCK", *MARK_ACCOUNT)


def unmark(session: Session) -> None:
    session.run("DROP USER IF EXISTS %s@%s", *MARK_ACCOUNT)
    session.run("DROP DATABASE {}", names=[MARK])


def _followed(row: Row, settings: Settings) -> Address:
    """The primary that is followed, as the user that it is followed as."""
    return Address(
        row["Source_User"], row["Source_Host"], int(row["Source_Port"]), password_file=settings.primary_password_file
    )
