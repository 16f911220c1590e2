"""Requests to one mongod over direct connections; errors are translated and contain no secret."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable

Answer = dict[str, Any]
PORT = 27017
AUTHENTICATION_FAILED = 18
NO_USERS_YET = (
    "is in its initial sync or recovers, and refuses the login of the agent: its users come with the data. Wait until "
    "it is a secondary, then run this action again"
)


class MongoRefused(DatastoreRefused):
    """mongod answered with an error; `code` is its number, or None."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class MongoAnswerLost(DatastoreUnreachable):
    """The request may have reached the server but had no answer: it may still take effect."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """URL and password of one server, with the timeouts in seconds of an answer and of a connection."""

    url: str = field(repr=False)
    address: str
    timeout: float
    connect: float
    password: Callable[[], str | None] = field(repr=False)

    def hello(self) -> Answer:
        """The answer to `hello`, which needs no login: also available before the server has users."""
        return self._run(self._anonymous_url(), {}, "hello", 1, "admin", {})

    def command(self, name: str, value: Any = 1, /, *, database: str = "admin", **more: Any) -> Answer:
        """The answer to one command. Raises `MongoRefused`, `MongoAnswerLost` and other `DatastoreError`s."""
        password = self.password()
        secret = {} if password is None else {"password": password}
        try:
            return self._run(self.url, secret, name, value, database, more)
        except MongoRefused as error:
            if error.code == AUTHENTICATION_FAILED and self._has_no_users_yet():
                raise MongoRefused(f"MongoDB at {self.address} {NO_USERS_YET}", error.code) from error
            raise

    def _has_no_users_yet(self) -> bool:
        """Whether the member is neither primary nor secondary: it is copying the data, including the users."""
        with suppress(DatastoreError):
            hello = self.hello()
            return bool(hello.get("setName")) and not hello.get("isWritablePrimary") and not hello.get("secondary")
        return False

    def log_in(self, user: str, password: str) -> None:
        """Prove that the user can log in. Raises `DatastoreError`."""
        login = {"username": user, "password": password, "authSource": "admin"}
        self._run(self._anonymous_url(), login, "ping", 1, "admin", {})

    def _run(self, url: str, options: Any, name: str, value: Any, database: str, more: Mapping[str, Any]) -> Answer:
        from bson.errors import BSONError
        from pymongo import MongoClient, errors

        self._check_port_is_open()
        first, limit = int(min(self.connect, self.timeout) * 1000), int(self.timeout * 1000)
        limits: Any = {"serverSelectionTimeoutMS": first, "connectTimeoutMS": first, "socketTimeoutMS": limit}
        try:
            with MongoClient[Answer](url, **options, **limits, directConnection=True) as client:
                return dict(client[database].command(name, value, **more))
        except (errors.OperationFailure, errors.NotPrimaryError) as error:
            raise self._refused(error) from error
        except errors.ServerSelectionTimeoutError as error:
            raise DatastoreUnreachable(f"MongoDB at {self.address} does not answer: {_cause(error)}") from error
        except errors.ConnectionFailure as error:
            raise MongoAnswerLost(f"MongoDB at {self.address} does not answer: {_cause(error)}") from error
        except (errors.PyMongoError, BSONError, UnicodeError) as error:
            raise DatastoreRefused(f"MongoDB at {self.address}: the request is invalid: {error}") from error

    def _refused(self, error: Any) -> MongoRefused:
        """The server's message, with the name of the error if the message lacks it."""
        details = error.details if isinstance(error.details, Mapping) else {}
        message, name = details.get("errmsg") or str(error), details.get("codeName")
        suffix = "" if name is None or name in message else f" ({name})"
        return MongoRefused(f"MongoDB at {self.address} refuses: {message}{suffix}", details.get("code"))

    def _check_port_is_open(self) -> None:
        """Check the port first: the driver would retry a closed port until its timeout."""
        host = unquote(urlsplit(self.url).netloc.rpartition("@")[2])
        try:
            _connect(host, min(self.connect, self.timeout)).close()
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise DatastoreDown(f"nothing listens at {self.address}") from error
        except OSError as error:
            raise DatastoreUnreachable(f"MongoDB at {self.address} cannot be reached: {error}") from error

    def _anonymous_url(self) -> str:
        parts = urlsplit(self.url)
        query = [(name, value) for name, value in parse_qsl(parts.query) if not name.lower().startswith("auth")]
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=urlencode(query)).geturl()


def _cause(error: Exception) -> str:
    return str(error).partition(", Timeout:")[0]


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
