"""Replace the data of a server by a copy, and restore the old data if the copy is not proved.

A copy is proved if it follows its primary. After a killed resync the primary may have died, so two more facts prove the
copy: it has all GTIDs that the primary had at the exchange, or it has transactions of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql import clone, follow, history, incomplete_mark, replication, server_process
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.data_directory import DataDirectory
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.session import Session, connect
from agent.datastores.mysql.sources import Source
from agent.datastores.termination import Terminated, complete
from agent.supervisors.base import Supervisor, SupervisorFailed
from agent.util.stop import Stop

TURN = "agent.resync"
"""Name of the server lock of the session that clones."""
FAILURES = (DatastoreError, SupervisorFailed, OSError)


class DirectorySwap:
    """Exchanges the data directories of the server at `here`."""

    def __init__(self, here: Address, place: DataDirectory, service: Supervisor, timeout: float) -> None:
        self._here, self._place, self._service, self._timeout = here, place, service, timeout
        self._was_writable = True

    def to_copy(
        self, source: Source, progress: Callable[[str], None], completing: AbstractContextManager[None]
    ) -> None:
        """Exchange, follow, then remove the old data. After a `DatastoreError` the old data is in use again.

        `completing` is the context of the server's stop; at its end the copy is complete.
        """
        try:
            self._exchange(source, progress, completing)
        except (*FAILURES, Terminated) as error:
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreError(f"{why}; {complete(self.undo)}") from None
        complete(self._place.drop_old)  # the copy is proved and stays

    def _exchange(
        self, source: Source, progress: Callable[[str], None], completing: AbstractContextManager[None]
    ) -> None:
        progress("switching to the copy")
        with completing:
            self._down()
        with connect(source.admin, self._timeout) as there:
            self._place.note_goal(applied(there))
        self._place.exchange()
        self._up()
        progress("waiting until it follows its primary")
        with connect(self._here, self._timeout) as session:
            session.keep_out_of_binary_log()
            follow.follow_copy(session, source, self._timeout, Stop())
            _accept(session)

    def undo(self) -> str:
        """Restore the old data, if it is kept, and start the server on it; returns a sentence."""
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
            where = place.old if place.is_exchanged() else place.data
            return (
                f"the old data could not be put back ({error}): it lies in {where}; stop the server, move the data to "
                f"{place.data} and start the server"
            )

    def _keep_read_only(self) -> None:
        """Make a MariaDB read-only again: it loses this setting at a restart."""
        with connect(self._here, self._timeout) as session:
            if session.replica_status() or not self._was_writable:
                session.run(session.dialect.make_read_only)

    def _down(self) -> None:
        """Stop the server by its supervisor and wait until its process has ended."""
        try:
            with connect(self._here, self._timeout) as session:
                process = server_process.process_of(session)
                self._was_writable = self._was_writable and replication.is_writable(session)
        except DatastoreError:
            process = None
        self._service.stop(Stop())
        server_process.await_end(process, self._here, self._timeout)

    def _up(self) -> None:
        server_process.bring_up(self._here, self._service, self._timeout)


def recover(here: Address, place: DataDirectory, service: Supervisor | None, timeout: float) -> str | None:
    """After a killed resync: keep the copy if it is proved, else restore the old data.

    Returns a sentence, or None if there was nothing to do.
    """
    if place.is_exchanged():
        place.check_what_is_in_place()
        if service is None:
            raise DatastoreError(f"{place.old} holds the old data of an earlier resync: set [service] to restore it")
        if _is_proved(here, place, service, timeout):
            with connect(here, timeout) as session:
                _accept(session)
            place.drop_old()
            return "an interrupted resync had already succeeded: the copy is kept"
        return DirectorySwap(here, place, service, timeout).undo()
    try:
        with connect(here, timeout) as session:
            clone.end_earlier(session, TURN)
            place.clear()
            if not incomplete_mark.is_marked(session) or not replication.role(session).streaming:
                return None
            _accept(session)
            return "the copy follows its primary"
    except DatastoreDown:
        return None


def _is_proved(here: Address, place: DataDirectory, service: Supervisor, timeout: float) -> bool:
    """Whether the copy in the place of the old data is kept. Raises `DatastoreUnreachable` if that is unknown."""
    if (goal := place.goal) is None or not place.data.exists():
        return False
    try:
        server_process.bring_up(here, service, timeout)
        with connect(here, timeout) as session:
            return _may_replace_old(session, goal)
    except (DatastoreDown, DatastoreRefused, SupervisorFailed):
        return False  # the copy does not start, or lacks the agent's account
    except DatastoreUnreachable as error:
        raise DatastoreUnreachable(
            f"{error}; the data from before the resync is in {place.old} and the copy in {place.data}: the next "
            "resync_slave_db keeps one of them"
        ) from None


def _may_replace_old(session: Session, goal: str) -> bool:
    """Whether the copy follows, has all GTIDs of `goal`, or has transactions of its own.

    A copy without a source was either promoted by hand or has not begun to follow: only its own transactions count.
    """
    if followed := session.replica_status():
        return all(map(replication.streams, followed)) or (
            history.has(session, goal) and all(map(replication.applies, followed))
        )
    return history.has_more(session, goal)


def _accept(session: Session) -> None:
    """Remove the mark of an unproved copy. A replica stays read-only, a promoted copy accepts writes."""
    session.keep_out_of_binary_log()
    if not session.replica_status():
        incomplete_mark.unmark(session)
        return
    session.run(session.dialect.make_resyncable)
    incomplete_mark.unmark(session)
    session.run(session.dialect.make_read_only)
