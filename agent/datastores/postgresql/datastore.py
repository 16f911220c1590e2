"""The datastore PostgreSQL 13 and newer. The other modules of this package implement it and import the driver."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from agent.config import DatastoreSettings
from agent.datastores.base import Datastore, Role, UserChanges
from agent.datastores.replication_requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import DatastoreStatus
from agent.models import Json
from agent.plan import Plan, refuse
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import ResyncProgress
    from agent.supervisors.base import Supervisor

SYSTEM_DATABASES = ("postgres", "template0", "template1")


class PostgreSQL(Datastore):
    """One PostgreSQL. docs/postgresql.rst lists the permissions that the agent's role needs."""

    driver = "psycopg"
    resync_needs = ("service", "data_directory")
    resync_stops = True
    follow_needs = ("service", "data_directory")
    schemes = ("postgresql", "postgres")
    database_options = ("owner", "encoding", "template")

    def __init__(self, settings: DatastoreSettings) -> None:
        super().__init__(settings)
        from agent.datastores.postgresql.connection import Target, parse

        self.server = Target(parse(settings.url, "datastore.url"), self.password, settings.timeout)
        self.address = self.server.address

    # Shutdown

    def is_up(self) -> bool:
        return self.server.is_up()

    def shut_down(self, timeout: float, stop: Stop) -> str:
        """A fast shutdown, which ends all sessions. A checkpoint before it keeps it short."""
        from agent.datastores.postgresql import shutdown

        return shutdown.shut_down(self.server, self.settings.data_directory, timeout, stop)

    # Databases

    def is_system_database(self, name: str) -> bool:
        """Also true for the database that the agent connects to."""
        return name in (*SYSTEM_DATABASES, self.server.database)

    def database_exists(self, name: str) -> bool:
        from agent.datastores.postgresql import databases

        return databases.exists(self.server, name)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        from agent.datastores.postgresql import databases

        return databases.plan_create(self.server, name, options)

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        from agent.datastores.postgresql import databases

        return databases.create(self.server, name, options)

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        from agent.datastores.postgresql import databases

        if self.is_system_database(name):
            return refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
        return databases.plan_delete(self.server, name, force=force)

    def delete_database(self, name: str, *, force: bool) -> Json:
        from agent.datastores.postgresql import databases

        return databases.delete(self.server, name, force=force)

    def plan_update_database(self, name: str, owner: str) -> Plan:
        from agent.datastores.postgresql import database_owner as owners

        return owners.plan_update(self.server, name, owner)

    def update_database(self, name: str, owner: str) -> Json:
        from agent.datastores.postgresql import database_owner as owners

        return owners.update(self.server, name, owner)

    # Users

    def user_exists(self, name: str) -> bool:
        from agent.datastores.postgresql import users

        return users.exists(self.server, name)

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        from agent.datastores.postgresql import users

        return users.plan_create(self.server, name, list(dict.fromkeys(databases)), privileges)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        from agent.datastores.postgresql import users

        return users.create(self.server, name, password, list(dict.fromkeys(databases)), privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        from agent.datastores.postgresql import user_update

        return user_update.plan_update(self.server, name, changes)

    def update_user(self, name: str, changes: UserChanges) -> Json:
        from agent.datastores.postgresql import user_update

        return user_update.update(self.server, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        from agent.datastores.postgresql import user_deletion as deletion

        return deletion.plan_delete(self.server, name, reassign_to)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        from agent.datastores.postgresql import user_deletion as deletion

        return deletion.delete(self.server, name, reassign_to)

    # Replication

    def role(self) -> Role:
        """A server out of recovery is a primary, also without replicas: it may be the only one with the data."""
        from agent.datastores.postgresql import replication

        return replication.role(self.server, self.settings.data_directory)

    def status(self) -> DatastoreStatus:
        from agent.datastores.postgresql import status as postgresql_status

        return postgresql_status.status(self.server, self.role, self.is_dirty)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        from agent.datastores.postgresql import promotion

        if self.is_dirty():
            return refuse("the data of this server is incomplete, so it cannot be a primary", "resync it first")
        return promotion.plan(self.settings, self.server, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        from agent.datastores.postgresql import promotion

        return promotion.promote(self.settings, self.server, stop, request)

    def plan_disable_replication(self) -> Plan:
        from agent.datastores.postgresql import replication

        return replication.plan_disable(self.settings, self.server)

    def disable_replication(self, stop: Stop) -> Json:
        """The server stays in recovery: read-only, also after a restart. It can be promoted."""
        from agent.datastores.postgresql import replication

        return replication.disable(self.settings, self.server, stop)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        from agent.datastores.postgresql.resync import plan_resync

        peer = self.peer(request.primary)
        return plan_resync(self.settings, self.server, service, peer, request, self.node)

    def resync(self, service: Supervisor | None, progress: ResyncProgress, request: ResyncRequest = RESYNC) -> Json:
        """Methods, least invasive first: none, repoint, pg_rewind on a copy of the data, pg_basebackup."""
        from agent.datastores.postgresql.resync import resync

        peer = self.peer(request.primary)
        return resync(self.settings, self.server, service, peer, request, progress, self.node)

    def recover(self, service: Supervisor | None) -> str | None:
        from agent.datastores.postgresql.resync import data_of, recover
        from agent.datastores.postgresql.service import PostgresqlService

        return None if service is None else recover(data_of(self.settings), PostgresqlService(service, self.server))

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        from agent.datastores.postgresql.resync import plan_resync

        request = ResyncRequest(primary=primary, mode="follow")
        return plan_resync(self.settings, self.server, service, self.peer(primary), request, self.node)

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """A running standby is repointed by a reload; a stopped server is started as a standby."""
        from agent.datastores.postgresql.resync import resync
        from agent.datastores.progress import ResyncProgress

        request, silent = ResyncRequest(primary=primary, mode="follow"), ResyncProgress(lambda state: None)
        return resync(self.settings, self.server, service, self.peer(primary), request, silent, self.node, stop)

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        from agent.datastores.postgresql.demote import plan_demote

        return plan_demote(self.settings, self.server, service, self.peer(primary), self.node)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """Shut down cleanly, check that the peer has the last checkpoint, then start as its standby."""
        from agent.datastores.postgresql.demote import demote

        return demote(self.settings, self.server, service, self.peer(primary), self.node, stop)

    def is_dirty(self) -> bool:
        """True between the switch to new data and the proof that it follows, unless the server runs."""
        from agent.datastores.postgresql.files import work_of

        data = self.settings.data_directory
        return data is not None and os.path.exists(work_of(data) / "old") and not self.server.accepts_connections()
