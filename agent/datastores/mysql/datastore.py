"""The datastore MySQL or MariaDB; the server's version string distinguishes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from agent import plan
from agent.config import DatastoreSettings
from agent.datastores.base import Datastore, DatastoreUnreachable, Role, UserChanges
from agent.datastores.mysql import (
    address,
    databases as mysql_databases,
    deadline,
    demote as mysql_demote,
    disable,
    follow_peer,
    incomplete_mark,
    promotion,
    replication,
    resync as mysql_resync,
    server_process,
    sources,
    status as mysql_status,
    swap,
    user_update,
    users,
)
from agent.datastores.mysql.data_directory import DataDirectory
from agent.datastores.mysql.history import Side
from agent.datastores.mysql.session import OutOfTime, Session, connect
from agent.datastores.mysql.sources import Source
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import DatastoreStatus
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor


class MySQL(Datastore):
    """One MySQL or MariaDB. Its users are `name`@`%`."""

    driver = "pymysql"
    schemes = ("mysql", "mysql+unix")
    database_options = ("charset", "collation")
    resync_stops = True
    absent_facts = mysql_status.ABSENT

    def __init__(self, settings: DatastoreSettings) -> None:
        super().__init__(settings)
        self.at = address.parse(settings.url, "datastore.url", settings.password_file)
        self.address = str(self.at)
        self.primary = None
        if settings.primary is not None:
            self.primary = address.parse(settings.primary, "datastore.primary", settings.primary_password_file)
            if self.primary.socket is not None:
                raise ConfigError("datastore.primary: expected mysql://user@host:port")

    def status(self) -> DatastoreStatus:
        return mysql_status.status(self.at, self.settings, self.is_dirty)

    # Shutdown

    def is_up(self) -> bool:
        return server_process.is_up(self.at, self.settings.timeout)

    def shut_down(self, timeout: float, stop: Stop) -> str:
        return server_process.shut_down(self.at, timeout, stop)

    # Databases

    def is_system_database(self, name: str) -> bool:
        return mysql_databases.is_system(name)

    def database_exists(self, name: str) -> bool:
        with self._alone() as session:
            return mysql_databases.exists(session, name)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        return self._plan_writing(lambda session: mysql_databases.plan_create(session, name, options))

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        return self._write(
            lambda session: mysql_databases.create(session, name, options),
            f"the database {name} is created",
            lambda session: mysql_databases.exists(session, name),
        )

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        return self._plan_writing(lambda session: mysql_databases.plan_delete(session, name, force=force))

    def delete_database(self, name: str, *, force: bool) -> Json:
        return self._write(
            lambda session: mysql_databases.delete(session, name, force=force, patience=self.settings.timeout / 2),
            f"the database {name} is deleted",
            lambda session: not mysql_databases.exists(session, name),
        )

    # Users

    def user_exists(self, name: str) -> bool:
        with self._alone() as session:
            return users.exists(session, name)

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        return self._plan_writing(lambda session: users.plan_create(session, name, databases, privileges))

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        def create(session: Session) -> Json:
            return users.create(session, self.at, self.settings.timeout, name, password, databases, privileges)

        return self._write(create, f"the user {name} is created", lambda session: users.exists(session, name))

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        return self._plan_writing(lambda session: user_update.plan(session, name, changes))

    def update_user(self, name: str, changes: UserChanges) -> Json:
        """Several idempotent statements: a repetition completes a change with an unknown outcome."""
        return self._write(
            lambda session: user_update.update(session, self.at, self.settings.timeout, name, changes),
            f"the user {name} is changed",
            lambda session: None,
        )

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        return self._plan_writing(lambda session: users.plan_delete(session, name, reassign_to))

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        return self._write(
            lambda session: users.delete(session, name, reassign_to),
            f"the user {name} is deleted",
            lambda session: not users.exists(session, name),
        )

    # Replication

    def role(self) -> Role:
        with self._session() as session:
            return replication.role(session)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        if self.is_dirty():
            return plan.refuse("the data of this server is incomplete, so it cannot be a primary", "resync it first")
        with self._session() as session:
            return promotion.plan(session, self.settings, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        try:
            return promotion.promote(self.at, self.settings, stop, request)
        except OutOfTime as late:
            return deadline.settle(
                self.at, self.settings.timeout, late, "this server is promoted",
                lambda session: replication.role(session).leads,
            )  # fmt: skip

    def plan_disable_replication(self) -> Plan:
        with self._session() as session:
            return disable.plan(session, self.settings)

    def disable_replication(self, stop: Stop) -> Json:
        try:
            with self._session() as session:
                warnings = list(disable.plan(session, self.settings).warnings)
                return replication.disable(session) | {"warnings": warnings}
        except OutOfTime as late:
            return deadline.settle(
                self.at, self.settings.timeout, late, "replication is disabled",
                lambda session: not session.replica_status(),
            )  # fmt: skip

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        return self._resync(service, request).plan()

    def resync(self, service: Supervisor | None, progress: ResyncProgress, request: ResyncRequest = RESYNC) -> Json:
        return self._resync(service, request).run(progress)

    def recover(self, service: Supervisor | None) -> str | None:
        if self.settings.data_directory is None:
            return None
        place = DataDirectory(self.settings.data_directory)
        return swap.recover(self.at, place, service, self.settings.timeout)

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        with self._session() as here, self._at_peer(primary) as (source, there):
            return follow_peer.plan_follow(Side(here, self.at), there, source, self.settings)

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        with self._session() as here, self._at_peer(primary) as (source, there):
            return follow_peer.follow(Side(here, self.at), there, source, self.settings, stop)

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        with self._session() as here, self._at_peer(primary) as (source, there):
            return mysql_demote.plan_demote(here, there, source)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        with self._session() as here, self._at_peer(primary) as (source, there):
            return mysql_demote.demote(here, self.at, there, source, self.settings.timeout, stop)

    def _resync(self, service: Supervisor | None, request: ResyncRequest) -> mysql_resync.Resync:
        return mysql_resync.Resync(self.settings, self.at, self._source(request.primary), service, request)

    def _source(self, name: str | None) -> Source | None:
        peer = self.peer(name)
        option = "datastore.primary" if name is None else f"datastore.peers.{name}.url"
        return None if peer is None else sources.of_peer(peer, option)

    @contextmanager
    def _at_peer(self, name: str) -> Iterator[tuple[Source, Session]]:
        source = self._source(name)
        assert source is not None  # an unknown name was refused
        with connect(source.admin, self.settings.timeout) as there:
            yield source, there

    def is_dirty(self) -> bool:
        """Also true if the server does not answer: it is then unknown whether its data is complete."""
        try:
            with self._session() as session:
                return incomplete_mark.is_marked(session)
        except DatastoreUnreachable:
            return True

    def _session(self) -> AbstractContextManager[Session]:
        return connect(self.at, self.settings.timeout)

    @contextmanager
    def _alone(self) -> Iterator[Session]:
        """A session that waits until no statement of a killed agent is still running, so that the state is stable."""
        with self._session() as session:
            session.wait_for_turn(self.settings.timeout / 2)
            yield session

    def _plan_writing(self, make: Callable[[Session], Plan]) -> Plan:
        """The plan of an action that writes to this server, without waiting for the agent's running statements."""
        with self._session() as session:
            replication.check_writes_here(session)
            incomplete_mark.check_whole(session)
            return make(session)

    def _write(self, act: Callable[[Session], Json], what: str, is_done: Callable[[Session], bool | None]) -> Json:
        """Run under the agent's server lock. After a timeout the statement is ended and the outcome is read."""
        try:
            with self._alone() as session:
                replication.check_writes_here(session)
                incomplete_mark.check_whole(session)
                session.wait_at_most(self.settings.timeout / 2)
                return act(session)
        except OutOfTime as late:
            return deadline.settle(self.at, self.settings.timeout, late, what, is_done)
