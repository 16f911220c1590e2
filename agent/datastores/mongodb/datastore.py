"""The datastore MongoDB: one member of a replica set, or a single server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import (
    DatastoreDown,
    DatastoreUnreachable,
    Role,
    UserChanges,
)
from agent.datastores.mongodb import (
    databases as mongodb_databases,
    files,
    handover,
    membership,
    promotion,
    replication,
    rollback,
    status as mongodb_status,
    users,
)
from agent.datastores.mongodb.decide import decide
from agent.datastores.mongodb.resync import Resync
from agent.datastores.mongodb.server import MongoDB
from agent.datastores.mongodb.start import plan_start
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import DatastoreStatus
from agent.models import Json
from agent.plan import Plan
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor


class MongoDBDatastore(MongoDB):
    """The mongod of this host."""

    resync_needs = ("service",)
    resync_stops = True
    database_options = ()
    experimental = "Experimental on MongoDB: tried on stand-ins that speak its protocol, never on mongod itself."

    # Shutdown

    def shut_down(self, timeout: float, stop: Stop) -> str:
        """Shut down. A primary steps down first, and refuses if no other member can take over."""
        deadline = time.monotonic() + timeout
        before = self._run()
        try:
            self.command("shutdown", timeoutSecs=min(15, int(timeout / 2)))
        except DatastoreDown:
            raise
        except DatastoreUnreachable:
            pass  # mongod answers by closing the connection
        if not poll(lambda: not self._still_runs(before), deadline - time.monotonic(), stop):
            why = stop.reason or "timeout"
            raise DatastoreUnreachable(f"MongoDB at {self.address} has not shut down yet, and still may: {why}")
        return f"MongoDB at {self.address} has shut down"

    def _run(self) -> Any:
        """An identifier of the present run of the server."""
        return self.hello().get("topologyVersion", {}).get("processId")

    def _still_runs(self, run: Any) -> bool:
        try:
            return bool(self._run() == run)
        except DatastoreDown:
            return False
        except DatastoreUnreachable:
            return True

    # Databases

    def is_system_database(self, name: str) -> bool:
        return name in mongodb_databases.OF_THE_SERVER

    def database_exists(self, name: str) -> bool:
        return mongodb_databases.exists(self, name)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        return mongodb_databases.plan_create(self, name)

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        return mongodb_databases.create(self, name)

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        return mongodb_databases.plan_delete(self, name)

    def delete_database(self, name: str, *, force: bool) -> Json:
        return mongodb_databases.delete(self, name)

    # Users

    def user_exists(self, name: str) -> bool:
        return users.find(self, name) is not None

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        return users.plan_create(self, name)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        return users.create(self, name, password, databases, privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        return users.plan_update(self, name, changes)

    def update_user(self, name: str, changes: UserChanges) -> Json:
        return users.update(self, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        return users.plan_delete(self, name, reassign_to)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        return users.delete(self, name)

    # Replication

    def role(self) -> Role:
        return replication.role(self)

    def status(self) -> DatastoreStatus:
        return mongodb_status.status(self)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        return promotion.plan_promote(self, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        return promotion.promote(self, stop, request)

    def plan_disable_replication(self) -> Plan:
        return membership.plan_leave(self)

    def disable_replication(self, stop: Stop) -> Json:
        """The removed member stays read-only; only a start without a replica set makes it writable."""
        return membership.leave(self, stop)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        if not self.is_up():
            return plan_start(self, service, request)
        if self.is_dirty() and service is not None:
            return plan.unknown(
                "an earlier resync was interrupted: the old data would be put back, and the resync then inspects it",
                steps=["stop MongoDB", "put the old data back", "start MongoDB", "make this plan again"],
            )
        return decide(self, service, request).plan

    def resync(self, service: Supervisor | None, progress: ResyncProgress, request: ResyncRequest = RESYNC) -> Json:
        return Resync(self, service, progress, Stop()).run(request)

    def recover(self, service: Supervisor | None) -> str | None:
        return rollback.recover(self, service)

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        return decide(self, service, ResyncRequest(primary=primary, mode="follow")).plan

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """Let the member catch up or join its set again. It always follows the elected primary of its set."""
        return Resync(self, service, ResyncProgress(lambda state: None), stop).run(
            ResyncRequest(primary=primary, mode="follow")
        )

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        return handover.plan_demote(self, primary)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return handover.demote(self, primary, stop)

    def is_dirty(self) -> bool:
        """True during a resync, unless the server is already a member with the data."""
        directory = self.data_directory()
        return directory is not None and files.is_in_progress(directory) and not rollback.follows(self)
