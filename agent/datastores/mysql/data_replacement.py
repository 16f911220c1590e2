"""Replace the data of one MySQL or MariaDB by a copy of its primary, made next to the old data if possible."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql import (
    compare,
    databases,
    dump,
    events,
    follow,
    incomplete_mark,
    replication,
    server_process,
    swap,
)
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.assessment import Copying
from agent.datastores.mysql.clone import Clone
from agent.datastores.mysql.data_directory import DataDirectory, free_bytes
from agent.datastores.mysql.incomplete_mark import MARK
from agent.datastores.mysql.second_server import Origin, SecondServer
from agent.datastores.mysql.session import Session, connect
from agent.datastores.mysql.sources import Source
from agent.datastores.mysql.swap import TURN
from agent.datastores.progress import ResyncProgress
from agent.datastores.termination import Terminated
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

OWN_LOGS = "SELECT CONCAT_WS(',', @@log_error, @@slow_query_log_file, @@general_log_file) AS files"


class DataReplacement:
    """Replaces the data of the server at `here` by a copy of its source."""

    def __init__(
        self,
        settings: DatastoreSettings,
        here: Address,
        source: Source,
        service: Supervisor | None,
        copying: Copying,
        progress: ResyncProgress,
    ) -> None:
        self._settings, self._here, self._source = settings, here, source
        self._service, self._copying, self._progress = service, copying, progress

    def run(self, *, new_identity: bool) -> dict[str, Any]:
        """Returns members of the result. `new_identity`: the server gets a new UUID because its GTIDs are discarded."""
        with self._connect(self._here) as here, self._connect(self._source.admin) as there:
            self._product, kept = here.dialect.product, dict(here.dialect.kept)
            self._before = compare.take(there)
            self._primary_id = int(there.value("SELECT @@server_id"))
            self._more = [] if self._copying.method == "clone" else dump.options_for(there, self._settings.programs)
        if self._copying.fixed is None:
            assert self._copying.place is not None and self._service is not None
            compared = self._next_to_old(self._copying.place, self._service, new_identity=new_identity)
        else:
            compared = self._clone_in_place() if self._copying.method == "clone" else self._dump_in_place()
        return {"compared": compared, **kept}

    # Next to the old data

    def _next_to_old(self, place: DataDirectory, service: Supervisor, *, new_identity: bool) -> dict[str, Any]:
        with self._without_debris(place), ExitStack() as stack:
            with self._connect(self._here) as here:
                process = server_process.process_of(here)
                logs = str(here.value(OWN_LOGS)).split(",")
            if process is None:
                raise DatastoreError(f"the server process of {place.data} is unknown: its pid file cannot be read")
            place.prepare()
            second = SecondServer(Origin.of(process), place, self._product, self._settings.programs)
            spare = stack.enter_context(second)
            self._make(spare, place)
            compared = self._prove(spare)
            until_the_switch = stack.pop_all()
        with until_the_switch:
            directory_swap = swap.DirectorySwap(self._here, place, service, self._settings.timeout)
            stopping = self._stopping(spare, place, logs, new_identity=new_identity)
            directory_swap.to_copy(self._source, self._progress, stopping)
        return compared

    @contextmanager
    def _stopping(
        self, spare: SecondServer, place: DataDirectory, logs: list[str], *, new_identity: bool
    ) -> Iterator[None]:
        """Shut the second server down and complete the copy while the server itself stops, to save a second."""
        with spare:
            spare.ask_to_stop()
            yield
            spare.await_stop()
        place.forget_sources()
        place.keep_own(logs, uuid=not new_identity)

    @contextmanager
    def _without_debris(self, place: DataDirectory) -> Iterator[None]:
        """Clean up after a failure before the switch: remove the working folder."""
        try:
            yield
        except Terminated:
            place.clear()
            raise DatastoreError("cancelled before the switch: this server is unchanged") from None
        except (DatastoreError, OSError) as error:
            place.clear()
            raise DatastoreError(f"{error}; this server is unchanged") from None

    def _make(self, spare: SecondServer, place: DataDirectory) -> None:
        if self._copying.method == "clone":
            self._progress("cloning the primary")
            clone = Clone(self._here, self._source.admin, self._settings.timeout, TURN, place.new)
            clone.run(self._progress.measure, self._copying.size)
            return
        self._write_dump(place.dump)
        self._progress("preparing the copy")
        spare.create()
        spare.start()
        self._load(place.dump, spare.address)
        spare.stop()
        place.dump.unlink()

    def _prove(self, spare: SecondServer) -> dict[str, Any]:
        """Start the copy, compare it with its source, and mark it as incomplete until it follows. It keeps running."""
        self._progress("comparing the copy")
        spare.start(open_to_all=True)
        with connect(spare.address, self._settings.timeout) as copy:
            replication.follow_no_source(copy, copy.replica_status())
            events.disable(copy, self._primary_id)
            compared = self._compare(copy)
            incomplete_mark.mark_copy(copy)
        return compared

    # In place

    def _dump_in_place(self) -> dict[str, Any]:
        """Dump the source, delete the old data and load the dump, which is kept until it is loaded.

        From the deletion on, the data is marked as incomplete.
        """
        directory = Path(tempfile.mkdtemp(prefix="agent-resync-"))
        file = directory / "dump.sql"
        try:
            self._check_room(directory)
            self._write_dump(file)
        except BaseException:
            directory.rmdir()
            raise
        try:
            self._make_room()
            self._load(file, self._here)
        except (DatastoreError, OSError, Terminated) as error:
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreError(
                f"{why}; the old data is deleted and the dump is complete in {file}: run the action again, "
                "or load the dump"
            ) from None
        file.unlink()
        directory.rmdir()
        return self._finish_in_place()

    def _check_room(self, directory: Path) -> None:
        if (free := free_bytes(directory)) < self._copying.size:
            raise DatastoreError(f"{directory.parent} has {free} bytes free and the dump needs {self._copying.size}")

    def _make_room(self) -> None:
        """Delete all databases and GTIDs, which the primary's will replace."""
        with connect(self._here, self._settings.timeout, patient=True) as session:
            self._begin_in_place(session)
            self._progress("deleting the old data")
            for name in databases.names(session):
                if name != MARK and not databases.is_system(name):
                    databases.delete(session, name, force=True, patience=self._settings.timeout)
            for statement in session.dialect.empty_binary_logs:
                session.run(statement)

    def _clone_in_place(self) -> dict[str, Any]:
        """Clone, with one retry: the end of an earlier resync's clone may stop the server during this one."""
        with suppress(DatastoreUnreachable):
            if self._has_cloned():
                return self._finish_in_place()
        server_process.bring_up(self._here, self._service, self._settings.timeout)
        if not self._has_cloned():
            raise DatastoreRefused(f"the server at {self._here} came up again without the data of its primary")
        return self._finish_in_place()

    def _has_cloned(self) -> bool:
        with connect(self._here, self._settings.timeout, patient=True) as session:
            process = server_process.process_of(session)
            self._begin_in_place(session)
        self._progress("cloning the primary")
        clone = Clone(self._here, self._source.admin, self._settings.timeout, TURN)
        clone.run(self._progress.measure, self._copying.size)
        self._progress("restarting this server")
        server_process.await_end(process, self._here, self._settings.timeout)
        server_process.bring_up(self._here, self._service, self._settings.timeout)
        with self._connect(self._here) as session:
            return not incomplete_mark.is_marked(session)

    def _begin_in_place(self, session: Session) -> None:
        """Mark the data as incomplete and refuse writes of clients, also after a restart if the server keeps that."""
        follow.pause(session)
        session.run(session.dialect.make_read_only)
        session.run(session.dialect.make_resyncable)
        session.keep_out_of_binary_log()
        incomplete_mark.mark(session)

    def _finish_in_place(self) -> dict[str, Any]:
        with self._connect(self._here) as here:
            here.keep_out_of_binary_log()
            here.run(here.dialect.make_resyncable)
            replication.follow_no_source(here, here.replica_status())
            events.disable(here, self._primary_id)
            self._progress("comparing the copy")
            compared = self._compare(here)
            incomplete_mark.unmark(here)
            self._progress("waiting until it follows its primary")
            follow.follow_copy(here, self._source, self._settings.timeout, Stop())
        return compared

    # Both

    def _write_dump(self, file: Path) -> None:
        self._progress("dumping the primary")
        with self._connect(self._here) as session:
            dialect = session.dialect
        dump.write(
            dialect, self._source.admin, file, self._settings.programs, self._more,
            self._progress.measure, self._copying.size or None,
        )  # fmt: skip

    def _load(self, file: Path, target: Address) -> None:
        self._progress("copying the data")
        with self._connect(target) as session:
            dialect = session.dialect
        dump.read_in(dialect, file, target, self._settings.programs, self._progress.measure)

    def _compare(self, copy: Session) -> dict[str, Any]:
        with self._connect(self._source.admin) as source:
            return compare.check(source, copy, self._before)

    def _connect(self, address: Address) -> AbstractContextManager[Session]:
        return connect(address, self._settings.timeout)
