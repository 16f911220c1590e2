"""MongoDB, one member of a replica set or a server of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from agent.config import Datastore as Settings
from agent.datastores import mongodb_replication, mongodb_resync
from agent.datastores.base import (
    Datastore,
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    Role,
)
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.errors import ConfigError
from agent.models import Json
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

Answer = dict[str, Any]

LOOK_EVERY = 0.1
PORT = 27017
USERS = "admin"
"""The database that all users are kept in, so that one user can have several databases."""
FIRST = "_created"
"""The empty collection that makes a database exist."""
ROLES = {"readonly": "read", "readwrite": "readWrite", "owner": "dbOwner"}


class MongoDB(Datastore):
    """One mongod, asked over a direct connection: never another member of its set in its place."""

    driver = "pymongo"
    resync_needs = ("service",)
    schemes = ("mongodb",)
    database_options = ()
    experimental = "Experimental on MongoDB: tried on stand-ins that speak its protocol, never on mongod itself."

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.primary = None if settings.primary is None else self._primary(settings.primary)

    def _primary(self, url: str) -> MongoDB:
        """The server that `datastore.primary` names."""
        try:
            return type(self)(replace(self.settings, url=url, primary=None))
        except ConfigError:
            raise ConfigError("datastore.primary: expected mongodb://host:port") from None

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
        """What tells one run of the server from another."""
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
        return name in ("admin", "config", "local")

    def database_exists(self, name: str) -> bool:
        return bool(self.command("listDatabases", nameOnly=True, filter={"name": name})["databases"])

    def create_database(self, name: str, options: Mapping[str, str]) -> Json:
        """A database of MongoDB is there as soon as something is in it."""
        self.command("create", FIRST, database=name)
        return {"collection": FIRST}

    def delete_database(self, name: str, *, force: bool) -> Json:
        """Connections belong to no database, so there are none to end."""
        self.command("dropDatabase", database=name)
        return {}

    # Users

    def user_exists(self, name: str) -> bool:
        return bool(self.command("usersInfo", {"user": name, "db": USERS})["users"])

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        """The databases need not be there yet."""
        roles = [{"role": ROLES[privileges], "db": database} for database in databases]
        self.command("createUser", name, database=USERS, pwd=password, roles=roles)
        return {"authSource": USERS, "roles": [f"{each['role']}@{each['db']}" for each in roles]}

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        own = self.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        if {"user": name, "db": USERS} in own:
            raise DatastoreRefused(f"the user {name} is the agent's own")
        self.command("dropUser", name, database=USERS)
        return {"authSource": USERS}

    # Replication

    def role(self) -> Role:
        return mongodb_replication.role(self)

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        return mongodb_replication.promote(self, stop)

    def disable_replication(self, stop: Stop) -> Json:
        """Removed from its set the server stays read-only; only a start without a set makes it writable."""
        return mongodb_replication.leave(self, stop)

    def resync(
        self, service: Supervisor | None, progress: Callable[[str], None], request: ResyncRequest = RESYNC
    ) -> Json:
        return mongodb_resync.Resync(self, service, progress).run()

    def is_dirty(self) -> bool:
        """While a resync is under way, unless it has come to be a member with the data all the same."""
        directory = self.data_directory()
        return directory is not None and mongodb_resync.is_under_way(directory) and not mongodb_resync.has_data(self)

    def data_directory(self) -> Path | None:
        """As configured, else as the server says; None where it is not known."""
        if self.settings.data_directory is not None:
            return self.settings.data_directory
        with suppress(DatastoreError):
            storage = self.command("getCmdLineOpts")["parsed"].get("storage", {})
            return Path(storage["dbPath"]) if "dbPath" in storage else None
        return None

    def at(self, address: str) -> MongoDB:
        """Another member of the set, known by the same users."""
        parts = urlsplit(self.settings.url)
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@{address}" if user else address
        return type(self)(replace(self.settings, url=parts._replace(netloc=netloc).geturl()))

    # Connections

    def hello(self) -> Answer:
        """How it presents itself to everybody: also while it has no users yet."""
        return self._ask(self._anonymous_url(), {}, "hello", 1, "admin", {})

    def command(self, name: str, value: Any = 1, /, *, database: str = "admin", **more: Any) -> Answer:
        """Its answer to one command."""
        password = self.password()
        secret = {} if password is None else {"password": password}
        return self._ask(self.settings.url, secret, name, value, database, more)

    def _ask(self, url: str, options: Any, name: str, value: Any, database: str, more: Mapping[str, Any]) -> Answer:
        from bson.errors import BSONError
        from pymongo import MongoClient, errors

        self._check_somebody_listens()
        limit = int(self.settings.timeout * 1000)
        limits: Any = {"serverSelectionTimeoutMS": limit, "connectTimeoutMS": limit, "socketTimeoutMS": limit}
        try:
            with MongoClient[Answer](url, **options, **limits, directConnection=True) as client:
                return dict(client[database].command(name, value, **more))
        except (errors.OperationFailure, errors.NotPrimaryError) as error:
            words = error.details.get("errmsg") if isinstance(error.details, Mapping) else None
            raise DatastoreRefused(f"MongoDB at {self.address} refuses: {words or error}") from error
        except errors.ConnectionFailure as error:
            words = str(error).partition(", Timeout:")[0]
            raise DatastoreUnreachable(f"MongoDB at {self.address} does not answer: {words}") from error
        except (errors.PyMongoError, BSONError, UnicodeError) as error:
            raise DatastoreRefused(f"MongoDB at {self.address} cannot be asked for this: {error}") from error

    def _check_somebody_listens(self) -> None:
        """The driver would look for the server again and again until its time is over."""
        host = unquote(urlsplit(self.settings.url).netloc.rpartition("@")[2])
        try:
            _connect(host, self.settings.timeout).close()
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise DatastoreDown(f"nothing listens at {self.address}") from error
        except OSError as error:
            raise DatastoreUnreachable(f"MongoDB at {self.address} cannot be reached: {error}") from error

    def _anonymous_url(self) -> str:
        parts = urlsplit(self.settings.url)
        query = [(name, value) for name, value in parse_qsl(parts.query) if not name.lower().startswith("auth")]
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(query)).geturl()


def _connect(host: str, timeout: float) -> socket.socket:
    if not host.startswith("/"):
        parts = urlsplit(f"//{host}")
        return socket.create_connection((parts.hostname or "", parts.port or PORT), timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(host)
    except OSError:
        connection.close()
        raise
    return connection
