"""One MySQL or MariaDB is brought to follow its primary: repointed, or replaced by a copy that has been proved."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.config import Datastore as Settings
from agent.datastores import (
    mysql_clone,
    mysql_compare,
    mysql_databases,
    mysql_decide,
    mysql_dump,
    mysql_events,
    mysql_follow,
    mysql_life,
    mysql_mark,
    mysql_replication,
    mysql_standing,
    mysql_switch,
    mysql_towards,
)
from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable, Terminated
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_clone import Clone
from agent.datastores.mysql_history import Side
from agent.datastores.mysql_mark import MARK
from agent.datastores.mysql_place import Place, free_bytes
from agent.datastores.mysql_session import Session, connect
from agent.datastores.mysql_sources import Source, only_source
from agent.datastores.mysql_spare import Origin, Spare
from agent.datastores.mysql_standing import Copying
from agent.datastores.mysql_switch import TURN
from agent.datastores.progress import Progress
from agent.datastores.requests import ResyncRequest
from agent.models import Json
from agent.plan import Plan, Would, discards_as_json
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

SETTLE = 6.0
"""Seconds that a server which an earlier resync left marked must stay up before it is believed to."""
PATIENCE = 30.0
"""Seconds in which this server and its primary must answer at the same time, so that it can begin."""
LOOK_EVERY = 0.1
OWN_LOGS = "SELECT CONCAT_WS(',', @@log_error, @@slow_query_log_file, @@general_log_file) AS files"


class Resync:
    """Bring the server at `here` to follow a source. Without `source` that is the one which is followed now."""

    def __init__(
        self,
        settings: Settings,
        here: Address,
        source: Source | None,
        service: Supervisor | None,
        request: ResyncRequest,
    ) -> None:
        self._settings, self._here, self._source = settings, here, source
        self._service, self._request = service, request

    def plan(self) -> Plan:
        """What `run` would do now. A server that is down is started first and then looked at."""
        try:
            return self._look()[0]
        except DatastoreDown as error:
            if self._is_up() or self._service is None:
                raise
            return plan.unknown(
                f"this server is down: it would be started, and what it has decides ({error})",
                steps=["start this server", "compare it with its primary"],
            )

    def run(self, progress: Progress) -> Json:
        """The members of the result. Raises `DatastoreError`."""
        progress("awaiting this server")
        self._settle_earlier()
        progress("checking the primary")
        decided, copying, source = self._look_patiently()
        if decided.would is Would.REFUSE and decided.refusal is not None:
            raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
        method = str(decided.facts["method"])
        result = {"method": method, "primary": str(source.replication), "discarded": discards_as_json(decided.discards)}
        if decided.would is Would.NOTHING:
            return result | {"warnings": list(decided.warnings)}
        if copying is None:
            progress("following the primary")
            return result | self._repoint(source)
        copy = Copy(self._settings, self._here, source, self._service, copying, progress)
        return result | {"where": decided.facts["where"]} | copy.run(new_identity=bool(decided.discards))

    def _settle_earlier(self) -> None:
        """What an earlier resync left: old data comes back, a clone that continues in the server is ended."""
        if (directory := self._settings.data_directory) is not None:
            mysql_switch.recover(self._here, Place(directory), self._service, self._settings.timeout)
        mysql_life.bring_up(self._here, self._service, self._settings.timeout)
        with connect(self._here, self._settings.timeout, patient=True) as session:
            mysql_clone.end_earlier(session, TURN)
            session.wait_for_turn(mysql_life.START_WAIT, TURN)
            settled = time.monotonic() + SETTLE
            while mysql_mark.is_marked(session) and time.monotonic() < settled:
                time.sleep(LOOK_EVERY)

    def _look_patiently(self) -> tuple[Plan, Copying | None, Source]:
        """The plan again: nothing is touched; a server that goes down here is started."""
        deadline = time.monotonic() + PATIENCE
        while True:
            mysql_life.bring_up(self._here, self._service, self._settings.timeout)
            try:
                return self._look()
            except DatastoreUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_EVERY)

    def _look(self) -> tuple[Plan, Copying | None, Source]:
        """The plan, how a copy is made where one is, and the source."""
        copying: Copying | None = None
        with self._connect(self._here) as here:
            source = self._source or self._only_source(here)
            with self._connect(source.admin) as there:

                def look_at_copying() -> Copying:
                    nonlocal copying
                    copying = mysql_standing.look_at_copying(here, there, self._service, self._settings)
                    return copying

                standing = mysql_standing.look(here, there, source, Side(here, self._here), self._settings)
                return mysql_decide.resync(standing, self._request, look_at_copying), copying, source

    def _only_source(self, here: Session) -> Source:
        if len(followed := here.replica_status()) > 1:
            named = ", ".join(map(mysql_standing.source_name, followed))
            raise DatastoreRefused(f"this server follows {len(followed)} sources, name one as primary: {named}")
        return only_source(here, self._settings)

    def _repoint(self, source: Source) -> dict[str, Any]:
        with self._connect(self._here) as here, self._connect(source.admin) as there:
            mysql_towards.repoint(Side(here, self._here), there, source, self._settings, Stop())
            return dict(here.dialect.kept)

    def _is_up(self) -> bool:
        return mysql_life.is_up(self._here, self._settings.timeout)

    def _connect(self, address: Address) -> AbstractContextManager[Session]:
        return connect(address, self._settings.timeout)


class Copy:
    """The data of the server at `here` is replaced by a copy of its source, beside it where it can be."""

    def __init__(
        self,
        settings: Settings,
        here: Address,
        source: Source,
        service: Supervisor | None,
        copying: Copying,
        progress: Progress,
    ) -> None:
        self._settings, self._here, self._source = settings, here, source
        self._service, self._copying, self._progress = service, copying, progress

    def run(self, *, new_identity: bool) -> dict[str, Any]:
        """Further members of the result. `new_identity`: the server gets a new UUID, as old GTIDs are given up."""
        with self._connect(self._here) as here, self._connect(self._source.admin) as there:
            self._product, kept = here.dialect.product, dict(here.dialect.kept)
            self._before = mysql_compare.take(there)
            self._primary_id = int(there.value("SELECT @@server_id"))
            self._more = (
                [] if self._copying.method == "clone" else mysql_dump.options_for(there, self._settings.programs)
            )
        if self._copying.fixed is None:
            assert self._copying.place is not None and self._service is not None
            compared = self._beside(self._copying.place, self._service, new_identity=new_identity)
        else:
            compared = self._clone_in_place() if self._copying.method == "clone" else self._dump_in_place()
        return {"compared": compared, **kept}

    # Beside

    def _beside(self, place: Place, service: Supervisor, *, new_identity: bool) -> dict[str, Any]:
        with self._without_debris(place):
            with self._connect(self._here) as here:
                process = mysql_life.process_of(here)
                logs = str(here.value(OWN_LOGS)).split(",")
            if process is None:
                raise DatastoreError(f"cannot tell which process is the server of {place.data}")
            place.prepare()
            with Spare(Origin.of(process), place, self._product, self._settings.programs) as spare:
                self._make(spare, place)
                compared = self._prove(spare)
            place.forget_sources()
            place.keep_own(logs, uuid=not new_identity)
        mysql_switch.Switch(self._here, place, service, self._settings.timeout).to_copy(self._source, self._progress)
        return compared

    @contextmanager
    def _without_debris(self, place: Place) -> Iterator[None]:
        """Until the switch the server and its data are untouched: only what is beside goes."""
        try:
            yield
        except Terminated:
            place.clear()
            raise DatastoreError("cancelled before the switch: this server is as it was") from None
        except (DatastoreError, OSError) as error:
            place.clear()
            raise DatastoreError(f"{error}; this server is as it was") from None

    def _make(self, spare: Spare, place: Place) -> None:
        if self._copying.method == "clone":
            self._progress("cloning the primary")
            clone = Clone(self._here, self._source.admin, self._settings.timeout, TURN, place.new)
            clone.run(self._progress.measure, self._copying.size)
            return
        self._write_dump(place.dump)
        self._progress("preparing the copy")
        spare.create()
        spare.start()
        self._read_in(place.dump, spare.address)
        spare.stop()
        place.dump.unlink()

    def _prove(self, spare: Spare) -> dict[str, Any]:
        """The copy starts, is like its source, and is marked until it follows."""
        self._progress("comparing the copy")
        spare.start(open_to_all=True)
        with connect(spare.address, self._settings.timeout) as copy:
            mysql_replication.follow_nobody(copy, copy.replica_status())
            mysql_events.disable(copy, self._primary_id)
            compared = self._compare(copy)
            mysql_mark.mark_copy(copy)
        spare.stop()
        return compared

    # In place

    def _dump_in_place(self) -> dict[str, Any]:
        """From the deletion on the data is marked as not whole; the complete dump stays until it is read in."""
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
            self._read_in(file, self._here)
        except (DatastoreError, OSError, Terminated) as error:
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreError(
                f"{why}; the old data is deleted and the dump is complete in {file}: run the action again, "
                "or read the dump in"
            ) from None
        file.unlink()
        directory.rmdir()
        return self._finish_in_place()

    def _check_room(self, directory: Path) -> None:
        if (free := free_bytes(directory)) < self._copying.size:
            raise DatastoreError(f"{directory.parent} has {free} bytes free and the dump needs {self._copying.size}")

    def _make_room(self) -> None:
        """Delete all databases and GTIDs, so that those of the primary can come."""
        with connect(self._here, self._settings.timeout, patient=True) as session:
            self._begin_in_place(session)
            self._progress("deleting the old data")
            for name in mysql_databases.names(session):
                if name != MARK and not mysql_databases.is_system(name):
                    mysql_databases.delete(session, name, force=True, patience=self._settings.timeout)
            for statement in session.dialect.empty_binary_logs:
                session.run(statement)

    def _clone_in_place(self) -> dict[str, Any]:
        """Once more where it came to nothing: a clone that an earlier resync left ends the server, in ours too."""
        with suppress(DatastoreUnreachable):
            if self._has_cloned():
                return self._finish_in_place()
        mysql_life.bring_up(self._here, self._service, self._settings.timeout)
        if not self._has_cloned():
            raise DatastoreRefused(f"the server at {self._here} came up again without the data of its primary")
        return self._finish_in_place()

    def _has_cloned(self) -> bool:
        with connect(self._here, self._settings.timeout, patient=True) as session:
            process = mysql_life.process_of(session)
            self._begin_in_place(session)
        self._progress("cloning the primary")
        clone = Clone(self._here, self._source.admin, self._settings.timeout, TURN)
        clone.run(self._progress.measure, self._copying.size)
        self._progress("restarting this server")
        mysql_life.await_end(process, self._here, self._settings.timeout)
        mysql_life.bring_up(self._here, self._service, self._settings.timeout)
        with self._connect(self._here) as session:
            return not mysql_mark.is_marked(session)

    def _begin_in_place(self, session: Session) -> None:
        """From here on the data is not whole. Others cannot write, also after a restart where that can be kept."""
        mysql_follow.pause(session)
        session.run(session.dialect.make_read_only)
        session.run(session.dialect.make_resyncable)
        session.keep_out_of_binary_log()
        mysql_mark.mark(session)

    def _finish_in_place(self) -> dict[str, Any]:
        with self._connect(self._here) as here:
            here.keep_out_of_binary_log()
            here.run(here.dialect.make_resyncable)
            mysql_replication.follow_nobody(here, here.replica_status())
            mysql_events.disable(here, self._primary_id)
            self._progress("comparing the copy")
            compared = self._compare(here)
            mysql_mark.unmark(here)
            self._progress("awaiting that it follows its primary")
            mysql_follow.follow_copy(here, self._source, self._settings.timeout, Stop())
        return compared

    # Both

    def _write_dump(self, file: Path) -> None:
        self._progress("dumping the primary")
        with self._connect(self._here) as session:
            dialect = session.dialect
        mysql_dump.write(
            dialect, self._source.admin, file, self._settings.programs, self._more,
            self._progress.measure, self._copying.size or None,
        )  # fmt: skip

    def _read_in(self, file: Path, target: Address) -> None:
        self._progress("copying the data")
        with self._connect(target) as session:
            dialect = session.dialect
        mysql_dump.read_in(dialect, file, target, self._settings.programs, self._progress.measure)

    def _compare(self, copy: Session) -> dict[str, Any]:
        with self._connect(self._source.admin) as source:
            return mysql_compare.check(source, copy, self._before)

    def _connect(self, address: Address) -> AbstractContextManager[Session]:
        return connect(address, self._settings.timeout)
