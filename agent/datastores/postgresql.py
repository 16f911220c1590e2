"""PostgreSQL 13 and newer: what it offers. How is in the modules beside, which import the driver."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from agent.config import Datastore as Settings
from agent.datastores.base import Datastore, Role, UserChanges
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import Status
from agent.models import Json
from agent.plan import Plan, refuse
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import Progress
    from agent.supervisors.base import Supervisor

SYSTEM_DATABASES = ("postgres", "template0", "template1")


class PostgreSQL(Datastore):
    """One PostgreSQL. What its user needs to be allowed stands in docs/postgresql.rst."""

    driver = "psycopg"
    resync_needs = ("service", "data_directory")
    follow_needs = ("service", "data_directory")
    schemes = ("postgresql", "postgres")
    database_options = ("owner", "encoding", "template")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        from agent.datastores.postgresql_connection import Target, parse

        self.server = Target(parse(settings.url, "datastore.url"), self.password, settings.timeout)
        self.address = self.server.address

    # Life

    def is_up(self) -> bool:
        return self.server.is_up()

    def shut_down(self, timeout: float, stop: Stop) -> str:
        """A fast shutdown: sessions are ended, not awaited. A checkpoint before it keeps it short."""
        from agent.datastores import postgresql_shutdown as shutdown

        return shutdown.shut_down(self.server, self.settings.data_directory, timeout, stop)

    # Databases

    def is_system_database(self, name: str) -> bool:
        """Also the one that the agent itself connects to."""
        return name in (*SYSTEM_DATABASES, self.server.database)

    def database_exists(self, name: str) -> bool:
        from agent.datastores import postgresql_databases as databases

        return databases.exists(self.server, name)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        from agent.datastores import postgresql_databases as databases

        return databases.plan_create(self.server, name, options)

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        from agent.datastores import postgresql_databases as databases

        return databases.create(self.server, name, options)

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        from agent.datastores import postgresql_databases as databases

        if self.is_system_database(name):
            return refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
        return databases.plan_delete(self.server, name, force=force)

    def delete_database(self, name: str, *, force: bool) -> Json:
        from agent.datastores import postgresql_databases as databases

        return databases.delete(self.server, name, force=force)

    def plan_update_database(self, name: str, owner: str) -> Plan:
        from agent.datastores import postgresql_database_owner as owners

        return owners.plan_update(self.server, name, owner)

    def update_database(self, name: str, owner: str) -> Json:
        from agent.datastores import postgresql_database_owner as owners

        return owners.update(self.server, name, owner)

    # Users

    def user_exists(self, name: str) -> bool:
        from agent.datastores import postgresql_users as users

        return users.exists(self.server, name)

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        from agent.datastores import postgresql_users as users

        return users.plan_create(self.server, name, list(dict.fromkeys(databases)), privileges)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        from agent.datastores import postgresql_users as users

        return users.create(self.server, name, password, list(dict.fromkeys(databases)), privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        from agent.datastores import postgresql_user_update as user_update

        return user_update.plan_update(self.server, name, changes)

    def update_user(self, name: str, changes: UserChanges) -> Json:
        from agent.datastores import postgresql_user_update as user_update

        return user_update.update(self.server, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        from agent.datastores import postgresql_user_deletion as deletion

        return deletion.plan_delete(self.server, name, reassign_to)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        from agent.datastores import postgresql_user_deletion as deletion

        return deletion.delete(self.server, name, reassign_to)

    # Replication

    def role(self) -> Role:
        """Out of recovery it is a primary, also without replicas: it may be the only one that has the data."""
        from agent.datastores import postgresql_replication as replication

        return replication.role(self.server, self.settings.data_directory)

    def status(self) -> Status:
        from agent.datastores import postgresql_status

        return postgresql_status.status(self.server, self.role, self.is_dirty)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        from agent.datastores import postgresql_promotion as promotion

        if self.is_dirty():
            return refuse("the data of this server is not whole, so it cannot be a primary", "resync it first")
        return promotion.plan(self.settings, self.server, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        from agent.datastores import postgresql_promotion as promotion

        return promotion.promote(self.settings, self.server, stop, request)

    def plan_disable_replication(self) -> Plan:
        from agent.datastores import postgresql_replication as replication

        return replication.plan_disable(self.settings, self.server)

    def disable_replication(self, stop: Stop) -> Json:
        """It stays in recovery: read-only, with the data that it has, also after a restart. It can be promoted."""
        from agent.datastores import postgresql_replication as replication

        return replication.disable(self.settings, self.server, stop)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        from agent.datastores.postgresql_resync import plan_resync

        peer = self.peer(request.primary)
        return plan_resync(self.settings, self.server, service, peer, request, self.node)

    def resync(self, service: Supervisor | None, progress: Progress, request: ResyncRequest = RESYNC) -> Json:
        """The gentlest way that does: none, repointed, pg_rewind on a copy of the data, pg_basebackup."""
        from agent.datastores.postgresql_resync import resync

        peer = self.peer(request.primary)
        return resync(self.settings, self.server, service, peer, request, progress, self.node)

    def recover(self, service: Supervisor | None) -> str | None:
        from agent.datastores.postgresql_resync import data_of, recover
        from agent.datastores.postgresql_service import Service

        return None if service is None else recover(data_of(self.settings), Service(service, self.server))

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        from agent.datastores.postgresql_resync import plan_resync

        request = ResyncRequest(primary=primary, mode="follow")
        return plan_resync(self.settings, self.server, service, self.peer(primary), request, self.node)

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """A standby is repointed by a reload, a server that is down is started as a standby."""
        from agent.datastores.postgresql_resync import resync
        from agent.datastores.progress import Progress

        request, silent = ResyncRequest(primary=primary, mode="follow"), Progress(lambda state: None)
        return resync(self.settings, self.server, service, self.peer(primary), request, silent, self.node, stop)

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        from agent.datastores.postgresql_demote import plan_demote

        return plan_demote(self.settings, self.server, service, self.peer(primary), self.node)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """A clean shutdown, whose last checkpoint the peer must have, then a start as its standby."""
        from agent.datastores.postgresql_demote import demote

        return demote(self.settings, self.server, service, self.peer(primary), self.node, stop)

    def is_dirty(self) -> bool:
        """Between the switch of a resync to its new data and the proof that this follows, unless the server runs."""
        from agent.datastores.postgresql_files import work_of

        data = self.settings.data_directory
        return data is not None and os.path.exists(work_of(data) / "old") and not self.server.lets_in()
