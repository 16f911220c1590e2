"""Resync a PostgreSQL: no change, repoint, rewind or copy; restore the old data on a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.config import DatastoreSettings, Peer
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql.connection import Target, one
from agent.datastores.postgresql.decision import Decision
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.follow import follow_by_reload, follow_by_restart
from agent.datastores.postgresql.new_data_directory import WalIsMissing, await_checkpoint, copy, rewind
from agent.datastores.postgresql.own_state import look_at
from agent.datastores.postgresql.plan import Comparison, divergence_of, look
from agent.datastores.postgresql.rollback import WorkFolder
from agent.datastores.postgresql.service import PostgresqlService, end_of
from agent.datastores.postgresql.source import create_slot, drop_slot, size_of
from agent.datastores.postgresql.tablespaces import places_for, places_of
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.termination import Terminated, complete
from agent.models import Json
from agent.plan import Plan, discards_as_json
from agent.supervisors.base import SupervisorFailed
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

PROVED = """
    SELECT NOT pg_is_in_recovery() OR EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
           OR COALESCE(GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= %s::pg_lsn, false)
"""


def data_of(settings: DatastoreSettings) -> DataDirectory:
    """The configured data directory. Raises `DatastoreError` if it is not configured."""
    if settings.data_directory is None:
        raise DatastoreError(
            "set datastore.data_directory in the configuration: a resync changes it while the server is down"
        )
    return DataDirectory(settings.data_directory, settings.programs)


def plan_resync(
    settings: DatastoreSettings,
    server: Target,
    service: Supervisor | None,
    peer: Peer | None,
    request: ResyncRequest,
    node: str,
) -> Plan:
    """What `resync` would do now. Raises `DatastoreError`."""
    if service is None:
        raise DatastoreError("set [service] in the configuration: a resync stops the server and starts it again")
    data = data_of(settings)
    return look(peer, server, data, request, node, settings.timeout).as_plan(data)


def resync(
    settings: DatastoreSettings, server: Target, supervisor: Supervisor | None, peer: Peer | None,
    request: ResyncRequest, progress: ResyncProgress, node: str, stop: Stop | None = None,
) -> Json:  # fmt: skip
    """Make the server follow its primary. Raises `DatastoreError`, `SupervisorFailed`, `OSError`."""
    try:
        return _resync(settings, server, supervisor, peer, request, progress, node, stop)
    except Terminated:  # before the first change: later code handles it itself
        raise DatastoreError("cancelled before anything was changed") from None


def _resync(
    settings: DatastoreSettings, server: Target, supervisor: Supervisor | None, peer: Peer | None,
    request: ResyncRequest, progress: ResyncProgress, node: str, stop: Stop | None,
) -> Json:  # fmt: skip
    if supervisor is None:
        raise DatastoreError("set [service] in the configuration: a resync stops the server and starts it again")
    data, service = data_of(settings), PostgresqlService(supervisor, server, stop)
    recover(data, service)
    progress("checking the primary")
    outlook = look(peer, server, data, request, node, settings.timeout)
    decision = outlook.decision
    if decision.method == "refuse":
        raise DatastoreRefused(f"{decision.reason}; {decision.lifted_by}")
    if decision.method != "none":
        service.check_is_its(outlook.mine.up)
        outlook = Resync(data, server, service, outlook, request, progress).run()
    return {
        "method": outlook.decision.method,
        "reason": outlook.decision.reason,
        "primary": outlook.primary.target.address,
        "slot": outlook.primary.slot or None,
        "replay": outlook.mine.replay or None,
        "slots_lost": list(outlook.slots_lost),
        "discarded": discards_as_json(outlook.decision.discards),
    }


def recover(data: DataDirectory, service: PostgresqlService) -> str | None:
    """Clean up after a killed resync; returns a sentence, or None if there was nothing to do.

    The new data is kept if the server follows with it, was promoted since, or has everything up to the `goal` of the
    resync: its source may have died since, and the old data may lack that part. Otherwise the old data is restored.
    Raises `DatastoreError` if an operator has put another directory in place of the data.
    """
    work = WorkFolder(data)
    if not work.exists:
        return None
    data.end_left_over()
    if not work.proved:
        work.check_what_is_in_place()
    if work.proved or (
        service.server.accepts_connections() and work.old.exists() and _is_proved(service.server, work.goal)
    ):
        work.finish()
        return "an interrupted resync had already succeeded: the new data is kept"
    was_up = work.was_up
    if work.old.exists():
        service.stop()
    work.put_back()
    if was_up and not service.server.is_up():
        service.start()
        service.await_answer()
    return f"the data from before an interrupted resync is back in {data.data}"


def _is_proved(server: Target, goal: str | None) -> bool:
    with server.connect() as connection:
        return bool(one(connection, PROVED, goal))


class Resync:
    """The execution of one resync whose decision requires changes."""

    def __init__(
        self, data: DataDirectory, server: Target, service: PostgresqlService, outlook: Comparison,
        request: ResyncRequest, progress: ResyncProgress,
    ) -> None:  # fmt: skip
        self.data, self.server, self.service = data, server, service
        self.outlook, self.request, self.progress = outlook, request, progress
        self.primary, self.mine = outlook.primary, outlook.mine
        self.work = WorkFolder(data)

    def run(self) -> Comparison:
        """Carry out the decision. Returns the comparison with the decision that was carried out."""
        created = create_slot(self.primary)
        try:
            self._act()
        except DatastoreError:
            if created:
                drop_slot(self.primary)
            raise
        return self.outlook

    def _act(self) -> None:
        self.data.write_passfile(self.primary.passwords)
        if self.outlook.decision.method == "follow" and self.outlook.decision.reload:
            follow_by_reload(self.server, self.primary, self.service, self.progress)
        elif self.outlook.decision.method == "follow":
            follow_by_restart(self.data, self.outlook, self.service, self.progress)
        else:
            self.data.check()
            self._or_put_back(self._replace)
            self._remove_old()

    def _replace(self) -> None:
        """Create the new data, switch to it, and wait until it follows."""
        self.work.begin(self.mine.up)
        if self.outlook.decision.method == "rewind":
            self._rewind()
        else:
            self._copy()
        self.progress("switching to the new data")
        self.work.note_goal(end_of(self.primary))
        self.service.stop()
        self.data.make_standby(self.work.new, self.primary.settings())
        self.work.switch()
        self.progress("starting the server")
        self.service.start()
        self.progress("waiting until it follows")
        self.service.await_following(self.primary)

    def _remove_old(self) -> None:
        """Remove the old data. The new data follows: it is kept even if a stop is requested now, at most once."""
        try:
            self.progress("removing the old data")
            self.work.finish()
        except Terminated:
            if self.work.exists:
                self.work.finish()

    def _rewind(self) -> None:
        await_checkpoint(self.primary, self.outlook.source.position.timeline, self.progress)
        self._stop()
        places = places_of(self.data)
        self.work.note(places)
        try:
            rewind(self.data, self.work, self.primary, places, self.progress)
        except WalIsMissing as why:
            if not self.outlook.decision.fallback:
                raise
            self.work.clear_new()
            self._decide(method="copy", reason=str(why))
            self._copy()

    def _copy(self) -> None:
        """Copy the source. A standby stays up until the copy is complete; a writable server is stopped first, because
        its writes would be lost.
        """
        if not self.mine.follows or not self.mine.live:
            self._stop()
        places = places_for(self.data, self.outlook.source.tablespaces)
        self.work.note(places)
        slot = "" if self.mine.streaming else self.primary.slot
        copy(self.data, self.work, self.primary, slot, places, size_of(self.primary), self.progress)

    def _stop(self) -> None:
        """Stop the server and decide again: it may have committed until then. Raises `DatastoreRefused`."""
        self.progress("stopping the server")
        self.service.stop()
        if self.outlook.mine.control.system != self.outlook.source.system:
            return
        again = look_at(self.data, self.server, self.mine)
        divergence = divergence_of(again, self.outlook.source, self.data)
        if not divergence.nothing and not self.request.force:
            raise DatastoreRefused("this server committed transactions until it was stopped; force is needed")
        if divergence.fork is not None:
            self._decide(fork=divergence.fork, discards=divergence.discards())

    def _decide(self, **changes: object) -> None:
        decision: Decision = replace(self.outlook.decision, **changes)  # type: ignore[arg-type]
        self.outlook = replace(self.outlook, decision=decision)

    def _or_put_back(self, act: Callable[[], None]) -> None:
        """Run `act`, and undo it after an error or a request to end. Raises `DatastoreError` with cause and state."""
        try:
            act()
        except (DatastoreError, SupervisorFailed, OSError) as error:
            raise DatastoreError(f"{error}; {complete(self._put_back)}") from None
        except Terminated:
            raise DatastoreError(f"cancelled; {complete(self._put_back)}") from None

    def _put_back(self) -> str:
        """Restore the old data and start the server on it; returns a sentence about the state reached."""
        self.progress("putting the old data back")
        try:
            if self.work.old.exists() or not self.mine.up:
                self.service.stop()
            if self.work.exists:
                self.work.put_back()
            if not self.mine.up:
                return f"the old data is in {self.data.data} and the server is down as before"
            if not self.server.is_up():
                self.service.start()
            self.service.await_answer()
        except (DatastoreError, SupervisorFailed, OSError) as error:
            where = self.work.old if self.work.old.exists() else self.data.data
            return f"the old data is complete in {where} and not in use: {error}; the next resync_slave_db puts it back"
        return f"the old data is in {self.data.data} and the server runs as before"
