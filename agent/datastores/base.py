"""The contract of a datastore: what an administrator would ask of it over a connection of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from agent import secret_file
from agent.config import Datastore as Settings
from agent.errors import ConfigError
from agent.models import Json
from agent.secret_file import SecretUnreadable
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor


class DatastoreError(Exception):
    """It did not do what it was asked; the message is one sentence without any secret."""


class DatastoreUnreachable(DatastoreError):
    """It does not answer."""


class DatastoreDown(DatastoreUnreachable):
    """Nothing listens where it should: it is not running."""


class DatastoreRefused(DatastoreError):
    """It answered, and not with a yes; the message has its own words."""


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

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        """Create one that does not exist; returns what was created, for the action's result."""
        raise NotSupported(self.no_databases)

    def delete_database(self, name: str, *, force: bool) -> Json:
        """Delete one that exists, with all its data; `force` ends its connections first."""
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

    def delete_user(self, name: str) -> Json:
        """Delete a user, with what it owns handled as the server needs; refused rather than half done."""
        raise NotSupported("this datastore has no users that can be deleted")

    def keep_users(self) -> None:
        """Let the users as they are now last over its restart, where a change alone does not do that."""
        return

    # Replication

    resync_needs: ClassVar[tuple[str, ...]] = ()
    """What the configuration must have for `resync`: "service", or options of `[datastore]`."""

    def role(self) -> "Role":
        """What this server is to the others, by its own word."""
        raise NotSupported("this datastore has no replication that the agent knows of")

    def promote(self, stop: Stop) -> Json:
        """Make this replica a writable primary and wait until it is; returns what is worth knowing."""
        raise NotSupported("this datastore has no replication that the agent knows of")

    def disable_replication(self, stop: Stop) -> Json:
        """Let this replica follow nobody any more, also after a restart; it stays read-only where it can."""
        raise NotSupported("this datastore has no replication that the agent knows of")

    def resync(self, service: "Supervisor | None", progress: Callable[[str], None]) -> Json:
        """Rebuild this server from its primary and wait until it follows; runs in a job, for as long as it takes.

        The primary is `datastore.primary`, else the one that this replica knows. `progress` is told
        each phase, before it begins, and as often as one likes how far it is, after a colon. While the data is not
        whole a mark on disk says so (`is_dirty`), and a resync that finds it begins anew.
        """
        raise NotSupported("this datastore has no replication that the agent knows of")

    def is_dirty(self) -> bool:
        """Whether a resync ended half way, so that the data must not be used."""
        return False


def password_in(file: Path | None) -> str | None:
    """The content of a password file, read anew each time; None where there is none. Raises `DatastoreError`."""
    if file is None:
        return None
    try:
        return secret_file.read(file)
    except SecretUnreadable as error:
        raise DatastoreError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Role:
    """`name` is "primary", "replica" or "standalone" (a server without replicas that follows nobody, read-only or not).

    `primary` is the address of whom a replica follows, `streaming` whether it does so right now.
    """

    name: str
    primary: str | None = None
    streaming: bool = False
    writable: bool = False
