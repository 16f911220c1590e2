"""The contract of a datastore: what an administrator would ask of it over a connection of its own."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from agent import plan, secret_file
from agent.config import Datastore as Settings
from agent.config import Peer
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.datastores.status import Status
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan, Would
from agent.secret_file import SecretUnreadable
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import Progress
    from agent.supervisors.base import Supervisor

NO_REPLICATION = "this datastore has no replication that the agent knows of"


class DatastoreError(Exception):
    """It did not do what it was asked; the message is one sentence without any secret."""


class DatastoreUnreachable(DatastoreError):
    """It does not answer."""


class DatastoreDown(DatastoreUnreachable):
    """Nothing listens where it should: it is not running."""


class DatastoreRefused(DatastoreError):
    """It answered, and not with a yes; the message has its own words."""


class OutcomeUnknown(DatastoreError):
    """A request ran out of our time and may still take effect; `waits_for` is what the server says it waits for."""

    def __init__(self, message: str, waits_for: str | None = None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


class Terminated(BaseException):
    """The job of a resync was told to end: put the old data back, then say what is left in a `DatastoreError`."""


class NotSupported(DatastoreError):
    """This kind of datastore has no such thing; the message says what is done there instead."""


class DriverMissing(Exception):
    """The Python package that talks to it is not installed; the message says how to."""


class Datastore(ABC):
    """One server on this node. Every call makes a connection of its own and raises `DatastoreError`s.

    A server of another make is a module of its own here: a subclass, named in `KINDS`.
    """

    driver: ClassVar[str]
    """The package to import, which the extra of the datastore's kind installs."""
    schemes: ClassVar[tuple[str, ...]]
    """The forms of a url that it understands."""
    experimental: ClassVar[str | None] = None
    """What has not been tried on the real server, as a sentence for the descriptions of kinds."""
    node: str = ""
    """The name by which it is to follow its primary, where that matters."""

    def __init__(self, settings: Settings) -> None:
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
        """The url without user, password and options, for messages."""

    @classmethod
    def require_driver(cls) -> None:
        """Raises `DriverMissing`. The driver is imported where it is used."""
        if find_spec(cls.driver) is None:
            extra = cls.__module__.rpartition(".")[2]
            raise DriverMissing(
                f"the Python package {cls.driver} is not installed: install the agent with its extra [{extra}]"
            )

    def password(self) -> str | None:
        """The content of `password_file`, read anew each time; None where it is not set."""
        return password_in(self.settings.password_file)

    def peer(self, name: str | None) -> Peer | None:
        """The peer of that name; without a name `datastore.primary`, else None: the source that is followed now.

        Raises `DatastoreRefused` for a name that the configuration lacks.
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

    def status(self) -> Status:
        """The facts about this server; never raises `DatastoreError`."""
        try:
            role = self.role()
            dirty = self.is_dirty()
        except DatastoreError as error:
            return Status(reachable=False, error=str(error))
        source = {"address": role.primary, "state": "streaming" if role.streaming else "stopped"}
        not_asked = dict.fromkeys(("version", "cluster_id", "lag", "position"), "not implemented for this datastore")
        return Status(
            reachable=True,
            role=role.name,
            writable=role.writable,
            source=source if role.name == "replica" else None,
            dirty=dirty,
            unknown=not_asked,
        )

    # Life

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it is running and answers, be it with a refusal. Raises `DatastoreUnreachable` if in doubt."""

    @abstractmethod
    def shut_down(self, timeout: float, stop: Stop) -> str:
        """Let it shut down by its own means, with its data safe, and wait until it has; returns a sentence.

        `timeout` is in seconds. Raises `DatastoreDown` where it was not up, `DatastoreRefused` where
        it would not or `stop` was requested, `DatastoreUnreachable` where it is not known.
        """

    # Databases. Where `database_options` is None there are none to create or delete.

    database_options: ClassVar[tuple[str, ...] | None] = None
    """Which of owner, encoding, charset, collation and template `create_database` understands."""
    no_databases: ClassVar[str] = "this datastore has no databases that can be created"
    """Why the kinds that need databases are not offered."""

    def is_system_database(self, name: str) -> bool:
        """Whether it belongs to the server and must never be deleted."""
        raise NotSupported(self.no_databases)

    def database_exists(self, name: str) -> bool:
        raise NotSupported(self.no_databases)

    def plan_create_database(self, name: str, options: Mapping[str, str]) -> Plan:
        """What `create_database` would do now."""
        if self.database_exists(name):
            return plan.refuse(f"the database {name} exists already", "choose another name, or delete it first")
        return Plan(Would.CHANGE, f"the database {name} would be created", steps=[f"create the database {name}"])

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        """Create one that does not exist; returns what was created, for the action's result."""
        raise NotSupported(self.no_databases)

    def plan_delete_database(self, name: str, *, force: bool) -> Plan:
        """What `delete_database` would do now, and how much data would be gone."""
        if self.is_system_database(name):
            return plan.refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
        if not self.database_exists(name):
            return plan.refuse(f"no database is called {name}", "check the name")
        summary = f"the database {name} and all its data would be deleted"
        discards = [plan.Discard(f"the database {name}", None, "bytes")]
        return Plan(Would.DESTROY, summary, steps=[f"delete the database {name}"], discards=discards)

    def delete_database(self, name: str, *, force: bool) -> Json:
        """Delete one that exists, with all its data; `force` ends its connections first."""
        raise NotSupported(self.no_databases)

    def plan_update_database(self, name: str, owner: str) -> Plan:
        """What `update_database` would do now."""
        raise NotSupported(self.no_databases)

    def update_database(self, name: str, owner: str) -> Json:
        """Give a database another owner."""
        raise NotSupported(self.no_databases)

    # Users

    def user_exists(self, name: str) -> bool:
        raise NotSupported("this datastore has no users that can be created")

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        """Create a user who may do that on those databases and no more, whole or not at all.

        `privileges` is "readonly", "readwrite" or "owner".
        Raises `DatastoreRefused` where it exists or a database does not.
        """
        raise NotSupported("this datastore has no users that can be created")

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        """Delete a user; what it owns goes to `reassign_to`, else as the server needs. Whole or not at all."""
        raise NotSupported("this datastore has no users that can be deleted")

    def keep_users(self) -> None:
        """Let the users as they are now last over its restart, where a change alone does not do that."""
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
        """Change a user, whole or not at all. Raises `DatastoreRefused` where the user or a database is missing."""
        raise NotSupported("the agent cannot change users of this datastore")

    def plan_delete_user(self, name: str, reassign_to: str | None) -> Plan:
        """What `delete_user` would do now."""
        if not self.user_exists(name):
            return plan.refuse(f"no user is called {name}", "check the name")
        return Plan(Would.CHANGE, f"the user {name} would be deleted", steps=[f"delete the user {name}"])

    # Replication. A plan reads this server and its peers and changes nothing; the action makes the same plan first.

    resync_needs: ClassVar[tuple[str, ...]] = ()
    """What the configuration must have for `resync`: "service", or options of `[datastore]`."""
    follow_needs: ClassVar[tuple[str, ...]] = ()
    """The same for `follow` and `demote`."""

    def role(self) -> "Role":
        """The server's role, as the server itself says."""
        raise NotSupported(NO_REPLICATION)

    def plan_promote(self, request: PromoteRequest) -> Plan:
        """What `promote` would do now."""
        if self.is_dirty():
            return plan.refuse("the data of this server is not whole, so it cannot be a primary", "resync it first")
        role = self.role()
        if role.leads:
            return plan.nothing("this server is a primary already")
        return Plan(Would.CHANGE, "this server would become a writable primary", steps=["promote this server"])

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        """Make this replica a writable primary and wait until it is.

        Returns the members of the result besides `role` and `writable`: `lag`, `old_primary` (`unreachable`,
        `read_only` or `writable`), `old_primary_address`, `held_by` (what keeps commits from finishing, or None),
        `server` (what else this kind of server says).
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
        """Stop following the source, also after a restart; the server stays read-only where the server can."""
        raise NotSupported(NO_REPLICATION)

    def plan_resync(self, service: "Supervisor | None", request: ResyncRequest) -> Plan:
        """What `resync` would do now. `facts["method"]` names the way: `none`, `follow`, `rewind`, `copy` ..."""
        try:
            role = self.role() if self.is_up() else None
        except DatastoreDown:
            role = None
        worthless = role is None or role.name == "replica" or (not role.leads and self.is_dirty())
        if not worthless and not request.force:
            return plan.refuse("this server follows no source", "force is needed to rebuild it from another server")
        return Plan(Would.DESTROY, "this server would be rebuilt from its primary", facts={"method": "copy"})

    def resync(self, service: "Supervisor | None", progress: "Progress", request: ResyncRequest = RESYNC) -> Json:
        """Bring this server to follow its primary by the gentlest way that does, and wait until it follows.

        Runs in a job, for as long as it takes, and makes the plan again first. Returns the members of the result
        besides `role`: `method`, `primary`, `discarded`, and what else this kind of server says. While the data is
        not whole a mark on disk says so (`is_dirty`).
        """
        raise NotSupported(NO_REPLICATION)

    def recover(self, service: "Supervisor | None") -> str | None:
        """After a resync that was killed: let the old data serve again, or the new data where it follows.

        Returns a sentence; None where there was nothing to do. Raises `DatastoreError`, saying where the data lies.
        """
        return None

    def plan_follow(self, service: "Supervisor | None", primary: str) -> Plan:
        """What `follow` would do now; refused where only a rebuild would do, saying why."""
        raise NotSupported(NO_REPLICATION)

    def follow(self, service: "Supervisor | None", primary: str, stop: Stop) -> Json:
        """Follow that peer without a rebuild, and wait until data arrives from it."""
        raise NotSupported(NO_REPLICATION)

    def plan_demote(self, service: "Supervisor | None", primary: str) -> Plan:
        """What `demote` would do now."""
        raise NotSupported(NO_REPLICATION)

    def demote(self, service: "Supervisor | None", primary: str, stop: Stop) -> Json:
        """Make this primary a replica of that peer without losing an acknowledged write.

        Stops writes, waits until the peer has everything (proved by position), and follows it. If the peer does not
        catch up in time, or `stop` is requested before the peer has everything, this server takes writes again.
        Idempotent: called again after an interruption it continues.
        """
        raise NotSupported(NO_REPLICATION)

    def is_dirty(self) -> bool:
        """Whether a resync ended half way, so that the data must not be used."""
        return False


def agreed(plan: Plan) -> Plan:
    """The plan that the caller is to carry out. Raises `DatastoreRefused` where the plan refuses."""
    if plan.refusal is not None:
        raise DatastoreRefused(f"{plan.refusal.reason}; {plan.refusal.lifted_by}")
    return plan


def password_in(file: Path | None) -> str | None:
    """The content of a password file, read anew each time; None where there is none. Raises `DatastoreError`."""
    if file is None:
        return None
    try:
        return secret_file.read(file)
    except SecretUnreadable as error:
        raise DatastoreError(str(error)) from None


@dataclass(frozen=True, slots=True)
class UserChanges:
    """What to change of a user; None: leave it as it is.

    `keep_old_password`: the present password stays valid beside the new one, until a change without it.
    """

    password: str | None = None
    databases: Sequence[str] | None = None
    privileges: str | None = None
    locked: bool | None = None
    keep_old_password: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """`name` is "replica" (configured to follow a source), "primary" (follows no source, and accepts writes or has
    replicas) or "standalone" (follows no source, read-only, without replicas).

    `primary` is the address of the source of a replica, `streaming` whether the replica receives from it right now.
    """

    name: str
    primary: str | None = None
    streaming: bool = False
    writable: bool = False

    @property
    def leads(self) -> bool:
        """Whether the server takes writes of its own."""
        return self.name == "primary" or (self.name == "standalone" and self.writable)
