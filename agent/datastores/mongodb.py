"""MongoDB, one member of a replica set or a server of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from agent import plan
from agent.config import Datastore as Settings
from agent.datastores import (
    mongodb_databases,
    mongodb_files,
    mongodb_handover,
    mongodb_membership,
    mongodb_promotion,
    mongodb_replication,
    mongodb_status,
    mongodb_users,
    mongodb_way_back,
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
from agent.datastores.mongodb_connection import Answer, Way
from agent.datastores.mongodb_decide import decide
from agent.datastores.mongodb_resync import Resync
from agent.datastores.mongodb_start import plan_start
from agent.datastores.progress import Progress
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import Status
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.1
CONNECT_TO_OTHERS = 2.0
"""Seconds that another member has to take a connection; a dead host takes none."""


class MongoDB(Datastore):
    """One mongod, asked over a direct connection: never another member of its set in its place."""

    driver = "pymongo"
    resync_needs = ("service",)
    schemes = ("mongodb",)
    database_options = ()
    experimental = "Experimental on MongoDB: tried on stand-ins that speak its protocol, never on mongod itself."

    def __init__(self, settings: Settings, connect: float | None = None) -> None:
        super().__init__(settings)
        self.way = Way(settings.url, self.address, settings.timeout, connect or settings.timeout, self.password)
        self.primary = None if settings.primary is None else self._other(settings.primary, "datastore.primary")
        for name, peer in settings.peers.items():
            self._other(peer.url, f"datastore.peers.{name}.url")

    def _other(self, url: str, option: str) -> MongoDB:
        """The server that an option names. Raises `ConfigError`."""
        try:
            return self.server(url, self.settings.primary_password_file)
        except ConfigError:
            raise ConfigError(f"{option}: expected mongodb://host:port") from None

    # Life

    def is_up(self) -> bool:
        try:
            self.command("ping")
        except DatastoreDown:
            return False
        except DatastoreRefused:
            return True
        return True

    def shut_down(self, timeout: float, stop: Stop) -> str:
        """A primary steps down first, and refuses where no other member can take over."""
        deadline = time.monotonic() + timeout
        before = self._run()
        try:
            self.command("shutdown", timeoutSecs=min(15, int(timeout / 2)))
        except DatastoreDown:
            raise
        except DatastoreUnreachable:
            pass  # the end of the connection is its answer
        while self._still_runs(before):
            if stop.requested or time.monotonic() > deadline:
                why = stop.reason or "the time is over"
                raise DatastoreUnreachable(f"MongoDB at {self.address} has not shut down yet, and still may: {why}")
            stop.wait(LOOK_EVERY)
        return f"MongoDB at {self.address} has shut down"

    def _run(self) -> Any:
        """What identifies one run of the server."""
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
        return mongodb_users.find(self, name) is not None

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        return mongodb_users.plan_create(self, name)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        return mongodb_users.create(self, name, password, databases, privileges)

    def plan_update_user(self, name: str, changes: UserChanges) -> Plan:
        return mongodb_users.plan_update(self, name, changes)

    def update_user(self, name: str, changes: UserChanges) -> Json:
        return mongodb_users.update(self, name, changes)

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        return mongodb_users.plan_delete(self, name, reassign_to)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        return mongodb_users.delete(self, name)

    # Replication

    def role(self) -> Role:
        return mongodb_replication.role(self)

    def status(self) -> Status:
        return mongodb_status.status(self)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        return mongodb_promotion.plan_promote(self, request)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        return mongodb_promotion.promote(self, stop, request)

    def plan_disable_replication(self) -> Plan:
        return mongodb_membership.plan_leave(self)

    def disable_replication(self, stop: Stop) -> Json:
        """Removed from its set the server stays read-only; only a start without a set makes it writable."""
        return mongodb_membership.leave(self, stop)

    def plan_resync(self, service: Supervisor | None, request: ResyncRequest) -> Plan:
        if not self.is_up():
            return plan_start(self, service, request)
        if self.is_dirty() and service is not None:
            return plan.unknown(
                "an earlier resync ended half way: the old data would be put back, and the resync then looks at it",
                steps=["stop MongoDB", "put the old data back", "start MongoDB", "make this plan again"],
            )
        return decide(self, service, request).plan

    def resync(self, service: Supervisor | None, progress: Progress, request: ResyncRequest = RESYNC) -> Json:
        return Resync(self, service, progress, Stop()).run(request)

    def recover(self, service: Supervisor | None) -> str | None:
        return mongodb_way_back.recover(self, service)

    def plan_follow(self, service: Supervisor | None, primary: str) -> Plan:
        return decide(self, service, ResyncRequest(primary=primary, mode="follow")).plan

    def follow(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        """A member follows the primary that its set elects, so that this catches up, or joins the set again."""
        return Resync(self, service, Progress(lambda state: None), stop).run(
            ResyncRequest(primary=primary, mode="follow")
        )

    def plan_demote(self, service: Supervisor | None, primary: str) -> Plan:
        return mongodb_handover.plan_demote(self, primary)

    def demote(self, service: Supervisor | None, primary: str, stop: Stop) -> Json:
        return mongodb_handover.demote(self, primary, stop)

    def is_dirty(self) -> bool:
        """While a resync is running, unless it has come to be a member with the data all the same."""
        directory = self.data_directory()
        return directory is not None and mongodb_files.is_under_way(directory) and not mongodb_way_back.follows(self)

    def data_directory(self) -> Path | None:
        """As configured, else as the server says; None where it is not known."""
        return self.settings.data_directory or self.reported_directory()

    def reported_directory(self) -> Path | None:
        """As the server says; None where it does not."""
        with suppress(DatastoreError):
            storage = self.command("getCmdLineOpts")["parsed"].get("storage", {})
            return Path(storage["dbPath"]) if "dbPath" in storage else None
        return None

    def address_in_set(self) -> str | None:
        """The address that this server had in its set when the agent let it leave; None where that is not known."""
        found = mongodb_membership.kept_member(self.data_directory()).get("host")
        return None if found is None else str(found)

    # Other members

    def named(self, name: str) -> MongoDB:
        """The peer of that name. Raises `DatastoreRefused`."""
        peer = self.peer(name)
        assert peer is not None  # of a name
        return self.server(peer.url, peer.password_file)

    def server(self, url: str, password_file: Path | None) -> MongoDB:
        """Another server: by the login of its url, else by that of this one, as the users of a set are the same."""
        parts = urlsplit(url)
        if parts.scheme != "mongodb" or "@" in parts.netloc:
            return self._with(url, password_file)
        own = urlsplit(self.settings.url)
        user, at, _ = own.netloc.rpartition("@")
        query = parts.query or own.query
        return self._with(
            parts._replace(netloc=f"{user}{at}{parts.netloc}", path=parts.path or "/", query=query).geturl(),
            self.settings.password_file,
        )

    def member(self, address: str) -> MongoDB:
        """Another member of the set: by the login of the peer of this address, else by that of this server."""
        for peer in self.settings.peers.values():
            if unquote(urlsplit(peer.url).netloc.rpartition("@")[2]) == address:
                return self.server(peer.url, peer.password_file)
        return self.server(f"mongodb://{address}/", None)

    def _with(self, url: str, password_file: Path | None) -> MongoDB:
        settings = replace(self.settings, url=url, password_file=password_file, primary=None, peers={})
        return type(self)(settings, CONNECT_TO_OTHERS)

    # Connections

    def hello(self) -> Answer:
        """How it presents itself to everybody: also while it has no users yet."""
        return self.way.hello()

    def command(self, name: str, value: Any = 1, /, *, database: str = "admin", **more: Any) -> Answer:
        """Its answer to one command. Raises `DatastoreError`."""
        return self.way.command(name, value, database=database, **more)

    def log_in(self, user: str, password: str) -> None:
        """Prove that the user can log in. Raises `DatastoreError`."""
        self.way.log_in(user, password)
