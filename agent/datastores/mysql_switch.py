"""A copy takes the place of the data of a server, and the old data comes back where the copy does not follow."""

from __future__ import annotations

from collections.abc import Callable

from agent.datastores import mysql_clone, mysql_follow, mysql_life, mysql_mark, mysql_replication
from agent.datastores.base import DatastoreDown, DatastoreError, Terminated
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_place import Place
from agent.datastores.mysql_session import connect
from agent.datastores.mysql_sources import Source
from agent.stop import Stop
from agent.supervisors.base import Supervisor, SupervisorFailed

TURN = "agent.resync"
"""The server's lock of the session that clones."""
FAILURES = (DatastoreError, SupervisorFailed, OSError)


class Switch:
    """The exchange of the data directories of the server at `here`."""

    def __init__(self, here: Address, place: Place, service: Supervisor, timeout: float) -> None:
        self._here, self._place, self._service, self._timeout = here, place, service, timeout
        self._was_writable = True

    def to_copy(self, source: Source, tell: Callable[[str], None]) -> None:
        """Exchange, follow, and only then let the old data go. Raises `DatastoreError`, the old data serving again."""
        try:
            tell("switching to the copy")
            self._down()
            self._place.exchange()
            self._up()
            tell("awaiting that it follows its primary")
            with connect(self._here, self._timeout) as session:
                session.keep_out_of_binary_log()
                mysql_follow.follow_copy(session, source, self._timeout, Stop())
                self._place.let_go()
                session.run(session.dialect.make_resyncable)
                mysql_mark.unmark(session)
                session.run(session.dialect.make_read_only)
        except (*FAILURES, Terminated) as error:
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreError(f"{why}; {self.back()}") from None

    def back(self) -> str:
        """Put the old data back where it is beside, and start the server on it; returns a sentence."""
        place = self._place
        try:
            if place.is_exchanged():
                self._down()
                place.put_back()
            else:
                place.clear()
            self._up()
            self._keep_read_only()
            return "the old data is in its place and the server runs on it as before"
        except FAILURES as error:
            lies = place.old if place.is_exchanged() else place.data
            return (
                f"the old data could not be put back ({error}): it lies in {lies}; stop the server, move the data to "
                f"{place.data} and start the server"
            )

    def _keep_read_only(self) -> None:
        """A MariaDB forgets over a restart that it was read-only."""
        with connect(self._here, self._timeout) as session:
            if session.replica_status() or not self._was_writable:
                session.run(session.dialect.make_read_only)

    def _down(self) -> None:
        """Stop the server by its supervisor and await that its process is gone."""
        try:
            with connect(self._here, self._timeout) as session:
                process = mysql_life.process_of(session)
                self._was_writable = self._was_writable and mysql_replication.is_writable(session)
        except DatastoreError:
            process = None
        self._service.stop(Stop())
        mysql_life.await_end(process, self._here, self._timeout)

    def _up(self) -> None:
        mysql_life.bring_up(self._here, self._service, self._timeout)


def recover(here: Address, place: Place, service: Supervisor | None, timeout: float) -> str | None:
    """After a resync that was killed: the old data comes back, or the copy that follows is believed.

    Returns a sentence; None where there was nothing to do.
    """
    if place.is_exchanged():
        if service is None:
            raise DatastoreError(f"{place.old} holds the old data of an earlier resync: [service] is needed for it")
        return Switch(here, place, service, timeout).back()
    try:
        with connect(here, timeout) as session:
            mysql_clone.end_earlier(session, TURN)
            place.clear()
            if not mysql_mark.is_marked(session) or not mysql_replication.role(session).streaming:
                return None
            session.keep_out_of_binary_log()
            session.run(session.dialect.make_resyncable)
            mysql_mark.unmark(session)
            session.run(session.dialect.make_read_only)
            return "the copy follows its primary"
    except DatastoreDown:
        return None
