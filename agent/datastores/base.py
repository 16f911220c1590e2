"""The interface of a datastore: the administrative operations that the kinds use."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from agent import plan
from agent.auth import secret_file
from agent.auth.secret_file import SecretUnreadable
from agent.config import DatastoreSettings, Peer
from agent.datastores.replication_requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import DatastoreStatus
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan, Would
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import ResyncProgress
    from agent.supervisors.base import Supervisor

NO_REPLICATION = "this datastore has no replication that the agent knows of"


class DatastoreError(Exception):
    """A request to the datastore failed. The message is one sentence without secrets."""


class DatastoreUnreachable(DatastoreError):
    """The server does not answer."""


class DatastoreDown(DatastoreUnreachable):
    """Nothing listens at the server's address: it is not running."""


class DatastoreRefused(DatastoreError):
    """The server refused the request; the message contains the server's own error."""


class OutcomeUnknown(DatastoreError):
    """A request timed out and may still take effect. `waits_for`: what it waits for, according to the server."""

    def __init__(self, message: str, waits_for: str | None = None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


class NotSupported(DatastoreError):
    """This kind of datastore does not support the request; the message names the alternative."""


class DriverMissing(Exception):
    """The Python driver is not installed; the message says how to install it."""


class Datastore(ABC):
    """The datastore server on this node. Each call opens its own connection and raises `DatastoreError`s.

    Each kind of server is a subclass in its own package, registered in `datastores.class_of`.
    """

    driver: ClassVar[str]
    """The Python package of the driver, which the extra of the datastore's kind installs."""
    schemes: ClassVar[tuple[str, ...]]
    """The accepted schemes of `datastore.url`."""
    experimental: ClassVar[str | None] = None
    """A sentence for the descriptions of kinds about what was not tested with the real server."""
    absent_facts: ClassVar[Mapping[str, str]] = {}
    """The facts of `status` that this kind of server never has, each with the reason in a sentence."""
    node: str = ""
    """The name under which this server follows its primary, if the datastore uses one."""

    def __init__(self, settings: DatastoreSettings) -> None:
        self.settings = settings
        try:
            parts = urlsplit(settings.url)
            _ = parts.port
        except ValueError:
            raise ConfigError("datastore.url: not a url") from None  # the url itself may hold a password
        if parts.scheme not in self.schemes:
            raise ConfigError(f"datastore.url: expected one of {', '.join(f'{each}://' for each in self.schemes)}")
        host = parts.netloc.rpartition("@")[2]
        self.address = f"{parts.scheme}://{host}{parts.path}"
        """The URL without user, password and options, for messages."""

    @classmethod
    def require_driver(cls) -> None:
        """Check that the driver is installed, without importing it. Raises `DriverMissing`."""
        if find_spec(cls.driver) is None:
            extra = cls.__module__.split(".")[-2]  # agent.datastores.EXTRA.datastore
            raise DriverMissing(
                f"the Python package {cls.driver} is not installed: install the agent with its extra [{extra}]"
            )

    def password(self) -> str | None:
        """The content of `password_file`, read at each call; None if the option is not set."""
        return password_in(self.settings.password_file)

    def peer(self, name: str | None) -> Peer | None:
        """The peer of that name; without a name, `datastore.primary`. None: the present source.

        Raises `DatastoreRefused` for a name that is not configured.
        """
        if name is not None:
            if (found := self.settings.peers.get(name)) is None:
                known = ", ".join(sorted(self.settings.peers)) or "none is configured"
                raise DatastoreRefused(
                    f"unknown peer {name!r}: add [datastore.peers.{json.dumps(name)}] (known: {known})"
                )
            return found
        if self.settings.primary is None:
            return None
        return Peer(url=self.settings.primary, password_file=self.settings.primary_password_file)

    # State

    def status(self) -> DatastoreStatus:
        """The facts about this server; never raises `DatastoreError`."""
        try:
            role = self.role()
            dirty = self.is_dirty()
        except DatastoreError as error:
            return DatastoreStatus(reachable=False, error=str(error))
        source = {"address": role.primary, "state": "streaming" if role.streaming else "stopped"}
        absent = dict.fromkeys(("version", "cluster_id", "lag", "position"), "not implemented for this datastore")
        return DatastoreStatus(
            reachable=True,
            role=role.name,
            writable=role.writable,
            streaming=role.streaming if role.name == "replica" else None,
            source=source if role.name == "replica" else None,
            dirty=dirty,
            unknown=absent,
        )

    # Shutdown

    @abstractmethod
    def is_up(self) -> bool:
        """Whether the server runs and answers; a refusal is an answer. Raises `DatastoreUnreachable` if in doubt."""

    @abstractmethod
    def shut_down(self, timeout: float, stop: Stop) -> str:
        """Shut the server down cleanly by its own command and wait until it has ended; returns a sentence.

        `timeout` is in seconds. Raises `DatastoreDown` if it was not running, `DatastoreRefused` if it
        refused or `stop` was requested, `DatastoreUnreachable` if the result is not known.
        """

    # Databases. If `database_options` is None, the datastore has no databases to create or delete.

    database_options: ClassVar[tuple[str, ...] | None] = None
    """The options that `create_database` supports: of owner, encoding, charset, collation and template."""
    no_databases: ClassVar[str] = "this datastore has no databases that can be created"
    """The reason why the kinds for databases are not offered."""

    def is_system_database(self, name: str) -> bool:
        """Whether the database belongs to the server and must not be deleted."""
        raise NotSupported(self.no_databases)

    def database_exists(self, name: str) -> bool:
        raise NotSupported(self.no_databases)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        """What `create_database` would do now."""
        if self.database_exists(name):
            return plan.refuse(f"the database {name} exists already", "choose another name, or delete it first")
        return Plan(Would.CHANGE, f"the database {name} would be created", steps=[f"create the database {name}"])

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        """Create a database; returns its description for the action's result."""
        raise NotSupported(self.no_databases)

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        """What `delete_database` would do now, and how much data would be lost."""
        if self.is_system_database(name):
            return plan.refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
        if not self.database_exists(name):
            return plan.refuse(f"no database is called {name}", "check the name")
        summary = f"the database {name} and all its data would be deleted"
        discards = [plan.Discard(f"the database {name}", None, "bytes")]
        return Plan(Would.DESTROY, summary, steps=[f"delete the database {name}"], discards=discards)

    def delete_database(self, name: str, *, force: bool) -> Json:
        """Delete a database with all its data; `force` ends its connections first."""
        raise NotSupported(self.no_databases)

    def plan_update_database(self, name: str, owner: str) -> Plan:
        """What `update_database` would do now."""
        raise NotSupported(self.no_databases)

    def update_database(self, name: str, owner: str) -> Json:
        """Change the owner of a database."""
        raise NotSupported(self.no_databases)

    # Users

    def user_exists(self, name: str) -> bool:
        raise NotSupported("this datastore has no users that can be created")

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        """Create a user with these privileges on these databases only; atomic.

        `privileges` is "readonly", "readwrite" or "owner".
        Raises `DatastoreRefused` if the user exists or a database does not.
        """
        raise NotSupported("this datastore has no users that can be created")

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        """Delete a user; its objects go to `reassign_to`, or to an owner that the server requires. Atomic."""
        raise NotSupported("this datastore has no users that can be deleted")

    def keep_users(self) -> None:
        """Make the present users survive a restart, where the server does not store changes by itself."""
        return

    def plan_create_user(self, name: str, databases: Sequence[str], privileges: str) -> Plan:
        """What `create_user` would do now."""
        if self.user_exists(name):
            return plan.refuse(f"the user {name} exists already", "choose another name, or use database_user_update")
        return Plan(Would.CHANGE, f"the user {name} would be created", steps=[f"create the user {name}"])

    def plan_update_user(self, name: str, changes: "UserChanges") -> Plan:
        """What `update_user` would do now."""
        raise NotSupported("the agent cannot change users of this datastore")

    def update_user(self, name: str, changes: "UserChanges") -> Json:
        """Change a user; atomic. Raises `DatastoreRefused` if the user or a database is missing."""
        raise NotSupported("the agent cannot change users of this datastore")

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        """What `delete_user` would do now."""
        if not self.user_exists(name):
            return plan.refuse(f"no user is called {name}", "check the name")
        return Plan(Would.CHANGE, f"the user {name} would be deleted", steps=[f"delete the user {name}"])

    # Replication. A plan only reads this server and its peers; the action computes the same plan first.

    resync_needs: ClassVar[tuple[str, ...]] = ()
    """The configuration that `resync` needs: "service", or options of `[datastore]`."""
    resync_stops: ClassVar[bool] = False
    """Whether a resync may stop the service."""
    follow_needs: ClassVar[tuple[str, ...]] = ()
    """The configuration that `follow` and `demote` need."""

    def role(self) -> "Role":
        """The role that the server reports."""
        raise NotSupported(NO_REPLICATION)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        """What `promote` would do now."""
        if self.is_dirty():
            return plan.refuse("the data of this server is incomplete, so it cannot be a primary", "resync it first")
        role = self.role()
        if role.leads:
            return plan.nothing("this server is a primary already")
        return Plan(Would.CHANGE, "this server would become a writable primary", steps=["promote this server"])

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        """Make this replica a writable primary and wait until it is.

        Returns the members of the result except `role` and `writable`: `lag`, `old_primary` (`unreachable`,
        `read_only` or `writable`), `old_primary_address`, `held_by` (the reason why commits wait, or None),
        `server` (details that depend on the kind of server).
        """
        raise NotSupported(NO_REPLICATION)

    def plan_disable_replication(self) -> Plan:
        """What `disable_replication` would do now."""
        role = self.role()
        if role.name == "primary":
            return plan.refuse("not a replica: this server is a primary", "run this action on a replica")
        if role.name == "standalone":
            return plan.nothing("this server follows no source already")
        return Plan(Would.CHANGE, "this server would stop following its source", steps=["stop replication"])

    def disable_replication(self, stop: Stop) -> Json:
        """Stop following the source, also after a restart; the server stays read-only if it supports that."""
        raise NotSupported(NO_REPLICATION)

    def plan_resync(self, service: "Supervisor | None", request: ResyncRequest) -> Plan:
        """What `resync` would do now. `facts["method"]` names the method: `none`, `follow`, `rewind`, `copy` ..."""
        try:
            role = self.role() if self.is_up() else None
        except DatastoreDown:
            role = None
        worthless = role is None or role.name == "replica" or (not role.leads and self.is_dirty())
        if not worthless and not request.force:
            return plan.refuse("this server follows no source", "force is needed to rebuild it from another server")
        return Plan(Would.DESTROY, "this server would be rebuilt from its primary", facts={"method": "copy"})

    def resync(self, service: "Supervisor | None", progress: "ResyncProgress", request: ResyncRequest = RESYNC) -> Json:
        """Make this server follow its primary by the least invasive method that works, and wait until it follows.

        Runs in a job without a time limit and first computes the plan again. Returns the members of the result
        except `role`: `method`, `primary`, `discarded` and details that depend on the kind of server. While the
        data is incomplete, a mark on disk records it (`is_dirty`).
        """
        raise NotSupported(NO_REPLICATION)

    def begin_resync(self, request: ResyncRequest) -> Json:
        """What `resync_at_once` would do, with the known `members` of the result. The caller stores it first.

        None: only the job can do this resync.
        """
        return None

    def resync_at_once(self, begun: Json) -> Json:
        """Do what `begin_resync` has returned, within a second. Returns the members of the result, like `resync`.

        None: it takes longer or has failed. `resync` with this `begun` continues it, also after a kill.
        """
        return None

    def undo_resync(self, begun: Json) -> str | None:
        """Undo what `resync_at_once` has done; returns a sentence about the state reached, or None."""
        return None

    def recover(self, service: "Supervisor | None") -> str | None:
        """After a killed resync: bring the old data back into use, or keep the new data if it follows.

        Returns a sentence, or None if there was nothing to do. Raises `DatastoreError` with the location of the data.
        """
        return None

    def plan_follow(self, service: "Supervisor | None", primary: str) -> Plan:
        """What `follow` would do now; refused, with the reason, if a rebuild is necessary."""
        raise NotSupported(NO_REPLICATION)

    def follow(self, service: "Supervisor | None", primary: str, stop: Stop) -> Json:
        """Follow the peer without a rebuild, and wait until data arrives from it."""
        raise NotSupported(NO_REPLICATION)

    def plan_demote(self, service: "Supervisor | None", primary: str) -> Plan:
        """What `demote` would do now."""
        raise NotSupported(NO_REPLICATION)

    def demote(self, service: "Supervisor | None", primary: str, stop: Stop) -> Json:
        """Make this primary a replica of the peer without losing an acknowledged write.

        Stops writes, waits until the peer has everything (proved by position), and follows it. If the peer does not
        catch up in time, or `stop` is requested before the peer has everything, this server accepts writes again.
        Idempotent: continues when called again after an interruption.
        """
        raise NotSupported(NO_REPLICATION)

    def is_dirty(self) -> bool:
        """Whether a resync was interrupted and the data is therefore incomplete and must not be used."""
        return False


def agreed(plan: Plan) -> Plan:
    """The plan, for a caller that executes it. Raises `DatastoreRefused` if the plan is a refusal."""
    if plan.refusal is not None:
        raise DatastoreRefused(f"{plan.refusal.reason}; {plan.refusal.lifted_by}")
    return plan


def password_in(file: Path | None) -> str | None:
    """The content of a password file, read at each call; None without a file. Raises `DatastoreError`."""
    if file is None:
        return None
    try:
        return secret_file.read(file)
    except SecretUnreadable as error:
        raise DatastoreError(str(error)) from None


@dataclass(frozen=True, slots=True)
class UserChanges:
    """The changes of a user; None: no change.

    `keep_old_password`: the present password stays valid together with the new one until the next change
    without this option.
    """

    password: str | None = None
    databases: Sequence[str] | None = None
    privileges: str | None = None
    locked: bool | None = None
    keep_old_password: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """The role. `name` is "replica" (configured to follow a source), "primary" (no source, accepts writes or has
    replicas) or "standalone" (no source, read-only, without replicas).

    `primary` is the address of a replica's source, `streaming` whether the replica receives from it and applies it now.
    """

    name: str
    primary: str | None = None
    streaming: bool = False
    writable: bool = False

    @property
    def leads(self) -> bool:
        """Whether the server accepts writes of clients."""
        return self.name == "primary" or (self.name == "standalone" and self.writable)
