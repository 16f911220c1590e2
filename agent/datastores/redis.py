"""Redis, and what speaks its protocol and commands (Valkey)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent import plan
from agent.config import Datastore as Settings
from agent.datastores import (
    redis_disable,
    redis_handover,
    redis_promotion,
    redis_replication,
    redis_source,
    redis_status,
    redis_users,
)
from agent.datastores.base import (
    Datastore,
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    Role,
    UserChanges,
)
from agent.datastores.progress import Progress
from agent.datastores.redis_connection import Login, Way, exceptions
from agent.datastores.redis_plan import decide
from agent.datastores.redis_resync import Resync
from agent.datastores.redis_source import Options, Source
from agent.datastores.redis_state import State, look
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import Status
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan, Would
from agent.stop import Stop

if TYPE_CHECKING:
    import redis

    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.05
"""Seconds between looks at whether it is gone, or ours to wait for no longer."""


class Redis(Datastore):
    """One Redis. Its "databases", to the users, are prefixes of keys: `app` stands for `app:*`."""

    driver = "redis"
    schemes = ("redis", "rediss", "unix")
    no_databases = "Redis has no databases to create or delete: they are numbered and always there"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.way = Way(settings.url, settings.timeout, self._login)
        for name, peer in settings.peers.items():
            _check_replicable(peer.url, f"datastore.peers.{name}.url")
        if settings.primary is not None:
            _check_replicable(settings.primary, "datastore.primary")

    def is_up(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except DatastoreDown:
            return False
        except DatastoreRefused:
            return True
        return True

    def shut_down(self, timeout: float, stop: Stop) -> str:
        deadline = time.monotonic() + timeout
        with self.client() as client:
            server: dict[str, Any] = client.info("server")
            self._ask_to_shut_down(client, deadline, stop)
        while self._still_runs(server["run_id"]):
            self._check_patience(deadline, stop)
            stop.wait(LOOK_EVERY)
        return f"Redis at {self.address} (pid {server['process_id']}) has shut down"

    def _ask_to_shut_down(self, client: redis.Redis, deadline: float, stop: Stop) -> None:
        """Send SHUTDOWN and await the answer: an error, or the end of the connection.

        With neither option it saves where persistence is configured, and waits for its replicas. It
        is asked on a bare connection: a client takes its end for a fault.
        """
        connection: Any = client.connection_pool.make_connection()
        connection.connect()
        try:
            connection.send_command("SHUTDOWN")
            while not connection.can_read(timeout=LOOK_EVERY):
                self._check_patience(deadline, stop)
            connection.read_response()
        except exceptions().ConnectionError:
            return
        finally:
            connection.disconnect()
        raise DatastoreRefused(f"Redis at {self.address} answered SHUTDOWN and did not shut down")

    def _check_patience(self, deadline: float, stop: Stop) -> None:
        """Raise where it is time to give up: what can be is called off then."""
        if stop.requested:
            self._call_off()
            raise DatastoreRefused(f"the shutdown of Redis at {self.address} was called off: {stop.reason}")
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"Redis at {self.address} has not shut down in the time it has; it still may")

    def _call_off(self) -> None:
        """From Redis 7 on a shutdown that still waits for its replicas can be taken back."""
        with suppress(DatastoreError), self.client() as client:
            client.shutdown(abort=True)

    def _still_runs(self, run_id: str) -> bool:
        """Whether the server of this run answers; one that a supervisor has started since does not count."""
        try:
            with self.client() as client:
                now: dict[str, Any] = client.info("server")
        except DatastoreDown:
            return False
        except DatastoreUnreachable:
            return True  # on its way, or in doubt
        return bool(now["run_id"] == run_id)

    # Users

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        with self.client() as client:
            refusal = redis_users.refusal_to_create(client, name, databases)
        if refusal is not None:
            return plan.refuse(refusal, "choose another name, or use database_user_update")
        return super().plan_create_user(name, databases, privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        with self.client() as client:
            if (refusal := redis_users.refusal_to_change(client, name)) is not None:
                return plan.refuse(refusal, "name a user of an application")
            changed = sorted(redis_users.changes_of(client, name, changes))
        if not changed:
            return plan.nothing(f"the user {name} is so already", facts={"user": name})
        steps = [f"change {', '.join(changed)} of the user {name}"]
        return Plan(Would.CHANGE, f"the user {name} would be changed", steps=steps, facts={"user": name})

    def update_user(self, name: str, changes: UserChanges) -> Json:
        with self.client() as client:
            return redis_users.update(client, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        if reassign_to is not None:
            return plan.refuse("the users of Redis own nothing", "leave reassign_to out")
        with self.client() as client:
            if (refusal := redis_users.refusal_to_change(client, name)) is not None:
                return plan.refuse(refusal, "name a user of an application")
        return super().plan_delete_user(name, reassign_to)

    def user_exists(self, name: str) -> bool:
        with self.client() as client:
            return redis_users.exists(client, name)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        with self.client() as client:
            return redis_users.create(client, name, password, databases, privileges)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        with self.client() as client:
            return redis_users.delete(client, name)

    def keep_users(self) -> None:
        with self.client() as client:
            redis_users.keep(client)

    # Replication

    def role(self) -> Role:
        with self.client() as client:
            return redis_replication.role(look(client))

    def plan_promote(self, request: PromoteRequest) -> Plan:
        return redis_promotion.plan_promote(self, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        return redis_promotion.promote(self, stop, request)

    def plan_disable_replication(self) -> Plan:
        return redis_disable.plan_disable(self)

    def disable_replication(self, stop: Stop) -> Json:
        """It is writable then: Redis has no read-only but for replicas."""
        with self.client() as client:
            return redis_promotion.follow_no_source(client)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        if not self.is_up():
            return self._plan_start(service, request)
        with self.client() as client:
            here = look(client)
        if here.loading and not here.is_replica:
            return plan.unknown("Redis loads its data; once it has, the resync looks at it and decides")
        return decide(self, request).plan

    def _plan_start(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        """Of a server that is down: its data is known once it has loaded it."""
        if service is None:
            reason = f"Redis at {self.address} is down, and there is no [service] to start it"
            return plan.refuse(reason, "start it, or set [service]")
        if (peer := self.peer(request.primary)) is not None:
            redis_source.of_peer(peer, {}, self.settings.timeout).look()
        return plan.unknown(
            "Redis is down: it would be started, and the resync then looks at its data and decides",
            steps=["start Redis", "make this plan again", "follow the primary or take a copy, or refuse"],
        )

    def resync(self, service: Supervisor | None, progress: Progress, request: ResyncRequest = RESYNC) -> Json:
        return Resync(self, service, progress, Stop()).run(request)

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        return decide(self, ResyncRequest(primary=primary, mode="follow")).plan

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return Resync(self, None, Progress(lambda state: None), stop).run(ResyncRequest(primary=primary, mode="follow"))

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        return redis_handover.plan_demote(self, primary)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return redis_handover.demote(self, primary, stop)

    def status(self) -> Status:
        return redis_status.status(self)

    def is_dirty(self) -> bool:
        """Whether a full copy is on its way in, by its own word; one that is down copies anew when it starts."""
        try:
            with self.client() as client:
                return look(client).copying
        except DatastoreError:
            return False

    def source(self, name: str | None, here: State, own: Options) -> Source:
        """The server that a request means: the peer of this name, else `datastore.primary`, else the source now."""
        if (peer := self.peer(name)) is not None:
            return redis_source.of_peer(peer, own, self.settings.timeout)
        if (found := redis_source.followed(here, own, self.settings.timeout)) is None:
            raise DatastoreRefused(f"Redis at {self.address} follows no source: set datastore.primary, or name a peer")
        return found

    def client(self) -> AbstractContextManager[redis.Redis]:
        """A connection that tries everything once, and whose errors are ours."""
        return self.way.client()

    def _login(self) -> Login:
        return Login(password=self.password())


def _check_replicable(url: str, option: str) -> None:
    """Redis follows hosts and ports only. Raises `ConfigError`."""
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(f"{option}: expected redis://host:port or rediss://host:port")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ConfigError(f"{option}: not a url") from None  # the url itself may hold a password
