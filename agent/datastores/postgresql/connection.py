"""Connections to PostgreSQL with bounded time; the driver's errors are translated into `DatastoreError`s."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agent.datastores.base import (
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
)
from agent.datastores.postgresql.deadline import HANG, Connection, bounded, waits_for
from agent.datastores.postgresql.ping import PingAnswer, ping
from agent.errors import ConfigError
from agent.util.stop import Stop

__all__ = ["Connection", "Target"]

CHANGES = 0x6167656E74
"""Key of the advisory lock for changes of databases and users. The last statement of a killed agent keeps it."""
CANCELLED = "57014"
SHUT_DOWN = ("57P01", "57P02", "57P03")
SERIALIZATION = ("40001", "40P01")
CATALOGUE_CONFLICTS = ("simple_heap_update", "simple_heap_delete")
"""The server's source functions that report "tuple concurrently updated": independent of its message language."""
OBSERVING = 2.0
"""Timeout in seconds for observing a statement that timed out."""


class Conflict(DatastoreRefused):
    """A concurrent session changed the same object; a retry succeeds."""


class ConnectionLost(DatastoreUnreachable):
    """The connection was lost during a statement, which may have taken effect. `waits_for`: see `OutcomeUnknown`."""

    def __init__(self, message: str, waits_for: str | None = None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


@dataclass(frozen=True)
class Target:
    """A server and its login. `params` are libpq's parameters, `timeout` limits one statement, in seconds."""

    params: Mapping[str, Any]
    password: Callable[[], str | None]
    timeout: float

    @property
    def address(self) -> str:
        """Host and port, for messages."""
        host = str(self.params.get("host") or self.params.get("hostaddr") or "the default socket")
        return f"{host}:{self.params.get('port', 5432)}"

    @property
    def database(self) -> str | None:
        """The default database of a connection."""
        return self.params.get("dbname")

    @contextmanager
    def connect(
        self, database: str | None = None, stop: Stop | None = None, *, locally: bool = False
    ) -> Iterator[Connection]:
        """A connection in autocommit mode; `stop` cancels the running statement.

        `locally`: commits do not wait for a synchronous standby. Raises `DatastoreDown`, `DatastoreUnreachable` and
        `DatastoreRefused` (with its subclasses `ConnectionLost` and `Conflict`), also from statements in the block.
        """
        connection = self._open(database, locally=locally)
        with closing(connection):
            try:
                with bounded(connection, self.timeout, stop, self._observe):
                    yield connection
            except psycopg.Error as error:
                if connection.hung_up:
                    self._end(connection.info.backend_pid)
                raise self.translated(error, connection, stop) from None

    def is_up(self) -> bool:
        """Whether the server answers; a refusal is an answer. Raises `DatastoreUnreachable` if in doubt."""
        answer = ping(self.params, self.timeout)
        if answer is PingAnswer.SILENT:
            raise DatastoreUnreachable(f"PostgreSQL at {self.address} does not answer")
        return answer is not PingAnswer.NOT_LISTENING

    def accepts_connections(self) -> bool:
        """Whether the server accepts connections; it does not before its data is consistent."""
        return ping(self.params, self.timeout) is PingAnswer.ACCEPTS

    def translated(self, error: psycopg.Error, connection: Connection, stop: Stop | None = None) -> DatastoreError:
        """Translate an error of the driver, keeping the server's message."""
        where, message = f"PostgreSQL at {self.address}", message_of(error)
        waited = f"; it waited for {connection.waits_for}" if connection.waits_for else ""
        late = f"{where} took longer than {self.timeout:g} s (datastore.timeout)"
        if error.sqlstate == CANCELLED and stop is not None and stop.requested:
            return DatastoreRefused(f"{where} cancelled: {stop.reason}")
        if error.sqlstate == CANCELLED:
            return DatastoreRefused(f"{late}, so the statement was cancelled: {message}{waited}")
        if connection.hung_up:
            return ConnectionLost(f"{late} and did not cancel the statement{waited}", connection.waits_for)
        if error.sqlstate in SHUT_DOWN or connection.broken:
            return ConnectionLost(f"{where} ended the connection: {message}{waited}", connection.waits_for)
        if _is_conflict(error):
            return Conflict(f"{where} refuses: {message}")
        return DatastoreRefused(f"{where} refuses: {message}")

    def _open(self, database: str | None, *, locally: bool = False) -> Connection:
        try:
            connection = Connection.connect(
                self._conninfo(database, locally=locally), password=self.password_now(), autocommit=True
            )
        except psycopg.OperationalError as error:
            message = f"cannot connect to PostgreSQL at {self.address}: {message_of(error)}"
            raise self._connect_error(message) from None
        connection.record_notices()
        return connection

    def _observe(self, pid: int) -> str | None:
        with suppress(DatastoreError, psycopg.Error), self._second_connection() as observer:
            return waits_for(observer, pid)
        return None

    def _end(self, pid: int) -> None:
        """Terminate the session of a statement that the server did not cancel."""
        with suppress(DatastoreError, psycopg.Error), self._second_connection() as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    @contextmanager
    def _second_connection(self) -> Iterator[Connection]:
        """A second connection for observing a statement that timed out."""
        short = replace(self, timeout=OBSERVING)
        with closing(short._open(None)) as connection, bounded(connection, OBSERVING, None, lambda pid: None):
            yield connection

    def _connect_error(self, message: str) -> DatastoreError:
        try:
            return DatastoreRefused(message) if self.is_up() else DatastoreDown(f"nothing listens at {self.address}")
        except DatastoreUnreachable:
            return DatastoreUnreachable(message)

    def password_now(self) -> str | None:
        """The password of the file or of the URL; None if neither has one."""
        given = self.password()
        return self.params.get("password") if given is None else given

    def _conninfo(self, database: str | None, *, locally: bool = False) -> str:
        # search_path: objects of a database must not shadow the catalog. statement_timeout: the server itself ends
        # the statements of a killed agent.
        milliseconds = math.ceil((self.timeout + HANG) * 1000)
        options = f"-c statement_timeout={milliseconds} -c search_path=pg_catalog,pg_temp"
        ours: dict[str, Any] = {
            "connect_timeout": math.ceil(self.timeout),
            "application_name": "agent",
            "options": f"{self.params.get('options', '')} {options}",
        }
        if database is not None:
            ours["dbname"] = database
        if locally:
            ours["options"] += " -c synchronous_commit=local"
        return make_conninfo(**{**self.params, "password": None} | ours)


def parse(conninfo: str, option: str) -> dict[str, Any]:
    """Parse a connection string. Raises `ConfigError` without the string, which may contain a password."""
    try:
        return conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise ConfigError(f"{option}: not a connection string of PostgreSQL") from None


def message_of(error: psycopg.Error) -> str:
    """The server's message, detail and hint on one line; the hint often contains the cure."""
    diag = error.diag
    if not diag.message_primary:
        return " ".join(str(error).split())
    words = [diag.message_primary, diag.message_detail, f"Hint: {diag.message_hint}" if diag.message_hint else None]
    return ": ".join(" ".join(word.split()) for word in words if word)


def _is_conflict(error: psycopg.Error) -> bool:
    if error.sqlstate == "XX000":
        message = error.diag.message_primary or ""
        return error.diag.source_function in CATALOGUE_CONFLICTS or message.startswith("tuple concurrently")
    return error.sqlstate in SERIALIZATION


def one(connection: Connection, statement: Any, *values: object) -> Any:
    """The single column of the single row."""
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]


def all_of(connection: Connection, statement: Any, *values: object) -> list[Any]:
    """The single column of all rows."""
    return [row[0] for row in connection.execute(statement, values or None)]


@contextmanager
def changing(connection: Connection) -> Iterator[None]:
    """Hold the agents' lock; waits for a statement of a killed agent to end."""
    connection.execute("SELECT pg_advisory_lock(%s)", (CHANGES,))
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (CHANGES,))
