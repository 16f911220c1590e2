"""The datastore Redis, or a server with its protocol and commands (Valkey)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import (
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    Role,
    UserChanges,
)
from agent.datastores.progress import ResyncProgress
from agent.datastores.redis import (
    at_once,
    disable,
    handover,
    promotion,
    replication,
    source as redis_source,
    status as redis_status,
    users,
)
from agent.datastores.redis.connection import exceptions
from agent.datastores.redis.plan import decide
from agent.datastores.redis.resync import Resync
from agent.datastores.redis.rollback import Rollback, reset_option
from agent.datastores.redis.server import Redis
from agent.datastores.redis.state import look
from agent.datastores.replication_requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import DatastoreStatus
from agent.models import Json
from agent.plan import Plan, Would
from agent.util.pauses import Pauses
from agent.util.stop import Stop

if TYPE_CHECKING:
    import redis

    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.05
"""Seconds between two checks whether the server has ended or the wait must end."""


class RedisDatastore(Redis):
    """The Redis of this host.

    A "database" of a user is a prefix of keys: `app` stands for `app:*`.
    """

    def shut_down(self, timeout: float, stop: Stop) -> str:
        deadline = time.monotonic() + timeout
        with self.client() as client:
            server: dict[str, Any] = client.info("server")
            self._request_shutdown(client, deadline, stop)
        pauses = Pauses()
        while self._still_runs(server["run_id"]):
            self._check_deadline(deadline, stop)
            stop.wait(pauses.next())
        return f"Redis at {self.address} (pid {server['process_id']}) has shut down"

    def _request_shutdown(self, client: redis.Redis, deadline: float, stop: Stop) -> None:
        """Send SHUTDOWN and wait for the answer: an error, or the end of the connection.

        Without options Redis saves if persistence is configured, and waits for its replicas. A bare
        connection is used because a client treats the end of the connection as a failure.
        """
        connection: Any = client.connection_pool.make_connection()
        connection.connect()
        try:
            connection.send_command("SHUTDOWN")
            while not connection.can_read(timeout=LOOK_EVERY):
                self._check_deadline(deadline, stop)
            connection.read_response()
        except exceptions().ConnectionError:
            return
        finally:
            connection.disconnect()
        raise DatastoreRefused(f"Redis at {self.address} answered SHUTDOWN and did not shut down")

    def _check_deadline(self, deadline: float, stop: Stop) -> None:
        """Raises `DatastoreError` after the deadline, and on a stop, which aborts the shutdown if possible."""
        if stop.requested:
            self._abort_shutdown()
            raise DatastoreRefused(f"the shutdown of Redis at {self.address} was called off: {stop.reason}")
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"Redis at {self.address} has not shut down before the timeout; it still may")

    def _abort_shutdown(self) -> None:
        """Abort the shutdown: Redis 7 and later can while it waits for its replicas."""
        with suppress(DatastoreError), self.client() as client:
            client.shutdown(abort=True)

    def _still_runs(self, run_id: str) -> bool:
        """Whether this run of the server still answers; a new run started by a supervisor does not count."""
        try:
            with self.client() as client:
                now: dict[str, Any] = client.info("server")
        except DatastoreDown:
            return False
        except DatastoreUnreachable:
            return True  # still ending, or in doubt
        return bool(now["run_id"] == run_id)

    # Users

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        with self.client() as client:
            refusal = users.refusal_to_create(client, name, databases)
        if refusal is not None:
            return plan.refuse(refusal, "choose another name, or use database_user_update")
        return super().plan_create_user(name, databases, privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        with self.client() as client:
            if (refusal := users.refusal_to_change(client, name)) is not None:
                return plan.refuse(refusal, "name a user of an application")
            changed = sorted(users.changes_of(client, name, changes))
        if not changed:
            return plan.nothing(f"the user {name} already has these properties", facts={"user": name})
        steps = [f"change {', '.join(changed)} of the user {name}"]
        return Plan(Would.CHANGE, f"the user {name} would be changed", steps=steps, facts={"user": name})

    def update_user(self, name: str, changes: UserChanges) -> Json:
        with self.client() as client:
            return users.update(client, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        if reassign_to is not None:
            return plan.refuse("the users of Redis own nothing", "leave reassign_to out")
        with self.client() as client:
            if (refusal := users.refusal_to_change(client, name)) is not None:
                return plan.refuse(refusal, "name a user of an application")
        return super().plan_delete_user(name, reassign_to)

    def user_exists(self, name: str) -> bool:
        with self.client() as client:
            return users.exists(client, name)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        with self.client() as client:
            return users.create(client, name, password, databases, privileges)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        with self.client() as client:
            return users.delete(client, name)

    def keep_users(self) -> None:
        with self.client() as client:
            users.keep(client)

    # Replication

    def role(self) -> Role:
        with self.client() as client:
            return replication.role(look(client))

    def plan_promote(self, request: PromoteRequest) -> Plan:
        return promotion.plan_promote(self, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        return promotion.promote(self, stop, request)

    def plan_disable_replication(self) -> Plan:
        return disable.plan_disable(self)

    def disable_replication(self, stop: Stop) -> Json:
        """The server is then writable: Redis supports read-only only on replicas."""
        with self.client() as client:
            return promotion.follow_no_source(client)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        if not self.is_up():
            return self._plan_start(service, request)
        with self.client() as client:
            here = look(client)
        if here.loading and not here.is_replica:
            return plan.unknown("Redis is loading its data; after that, the resync inspects it and decides")
        return decide(self, request).plan

    def _plan_start(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        """The plan for a stopped server, whose data is known only after it is loaded."""
        if service is None:
            reason = f"Redis at {self.address} is down, and there is no [service] to start it"
            return plan.refuse(reason, "start it, or set [service]")
        if (peer := self.peer(request.primary)) is not None:
            redis_source.of_peer(peer, {}, self.settings.timeout).look()
        return plan.unknown(
            "Redis is down: it would be started, and the resync then inspects its data and decides",
            steps=["start Redis", "make this plan again", "follow the primary or take a copy, or refuse"],
        )

    def resync(self, service: Supervisor | None, progress: ResyncProgress, request: ResyncRequest = RESYNC) -> Json:
        return Resync(self, service, progress, Stop()).run(request)

    def begin_resync(self, request: ResyncRequest) -> Json:
        with suppress(DatastoreError):  # the job gets the same error and reports it
            return at_once.begin(self, request)
        return None

    def resync_at_once(self, begun: Json) -> Json:
        quick = type(self)(replace(self.settings, timeout=min(at_once.PATIENCE, self.settings.timeout)))
        with suppress(DatastoreError):
            return at_once.carry_out(quick, begun)
        return None

    def undo_resync(self, begun: Json) -> str | None:
        return Rollback.of_json(self, begun["way_back"]).undo()

    def recover(self, service: Supervisor | None) -> str | None:
        with suppress(DatastoreError), self.client() as client:
            return None if look(client).copying else reset_option(client)
        return None

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        return decide(self, ResyncRequest(primary=primary, mode="follow")).plan

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return Resync(self, None, ResyncProgress(lambda state: None), stop).run(
            ResyncRequest(primary=primary, mode="follow")
        )

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        return handover.plan_demote(self, primary)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return handover.demote(self, primary, stop)

    def status(self) -> DatastoreStatus:
        return redis_status.status(self)

    def is_dirty(self) -> bool:
        """Whether Redis reports a running full copy. A Redis that is down starts the copy again when it starts."""
        try:
            with self.client() as client:
                return look(client).copying
        except DatastoreError:
            return False
