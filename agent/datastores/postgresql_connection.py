"""Connections to PostgreSQL that end in a bounded time and whose errors are ours."""

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
from agent.datastores.postgresql_deadline import HANG, LOOK_EVERY, Connection, bounded, waits_for
from agent.datastores.postgresql_ping import Answer, ping
from agent.errors import ConfigError
from agent.stop import Stop

__all__ = ["LOOK_EVERY", "Connection", "Target"]

CHANGES = 0x6167656E74
"""The advisory lock under which the agent changes databases and users: a killed agent's last statement still has it."""
CANCELLED = "57014"
SHUT_DOWN = ("57P01", "57P02", "57P03")
SERIALIZATION = ("40001", "40P01")
CATALOGUE_CONFLICTS = ("simple_heap_update", "simple_heap_delete")
"""The functions of the server that report "tuple concurrently updated", whatever its language."""
OBSERVING = 2.0
"""Seconds for a look at a statement that ran out of time."""


class Conflict(DatastoreRefused):
    """Another session changed the same at the same moment: the same request succeeds when it is repeated."""


class ConnectionLost(DatastoreUnreachable):
    """The connection ended within a statement, which may have taken effect. `waits_for` as of `OutcomeUnknown`."""

    def __init__(self, message: str, waits_for: str | None = None) -> None:
        super().__init__(message)
        self.waits_for = waits_for


@dataclass(frozen=True)
class Target:
    """A server, and how to log in. `params` are libpq's, `timeout` is the seconds of one statement."""

    params: Mapping[str, Any]
    password: Callable[[], str | None]
    timeout: float

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        host = str(self.params.get("host") or self.params.get("hostaddr") or "the default socket")
        return f"{host}:{self.params.get('port', 5432)}"

    @property
    def database(self) -> str | None:
        """The one that is connected to unless another is asked for."""
        return self.params.get("dbname")

    @contextmanager
    def connect(
        self, database: str | None = None, stop: Stop | None = None, *, locally: bool = False
    ) -> Iterator[Connection]:
        """A connection in autocommit mode; `stop` cancels the statement that runs.

        `locally`: no commit waits for a synchronous standby. Raises `DatastoreDown`, `DatastoreUnreachable` and
        `DatastoreRefused`, inside as well, `ConnectionLost` and `Conflict` among them.
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
        """Whether it answers; a refusal is an answer. Raises `DatastoreUnreachable` if in doubt."""
        answer = ping(self.params, self.timeout)
        if answer is Answer.SILENT:
            raise DatastoreUnreachable(f"PostgreSQL at {self.address} does not answer")
        return answer is not Answer.NOBODY

    def lets_in(self) -> bool:
        """Whether it takes connections, which it does not before its data is consistent."""
        return ping(self.params, self.timeout) is Answer.ACCEPTS

    def translated(self, error: psycopg.Error, connection: Connection, stop: Stop | None = None) -> DatastoreError:
        """The error as one of ours, with the server's words."""
        where, said = f"PostgreSQL at {self.address}", said_by(error)
        waited = f"; it waited for {connection.waits_for}" if connection.waits_for else ""
        late = f"{where} took longer than {self.timeout:g} s (datastore.timeout)"
        if error.sqlstate == CANCELLED and stop is not None and stop.requested:
            return DatastoreRefused(f"{where} was asked to stop what it did: {stop.reason}")
        if error.sqlstate == CANCELLED:
            return DatastoreRefused(f"{late}, so the statement was cancelled: {said}{waited}")
        if connection.hung_up:
            return ConnectionLost(f"{late} and did not cancel the statement{waited}", connection.waits_for)
        if error.sqlstate in SHUT_DOWN or connection.broken:
            return ConnectionLost(f"{where} ended the connection: {said}{waited}", connection.waits_for)
        if _is_conflict(error):
            return Conflict(f"{where} refuses: {said}")
        return DatastoreRefused(f"{where} refuses: {said}")

    def _open(self, database: str | None, *, locally: bool = False) -> Connection:
        try:
            connection = Connection.connect(
                self._conninfo(database, locally=locally), password=self.password_now(), autocommit=True
            )
        except psycopg.OperationalError as error:
            message = f"PostgreSQL at {self.address} cannot be connected to: {said_by(error)}"
            raise self._why_not(message) from None
        connection.heed_notices()
        return connection

    def _observe(self, pid: int) -> str | None:
        with suppress(DatastoreError, psycopg.Error), self._aside() as observer:
            return waits_for(observer, pid)
        return None

    def _end(self, pid: int) -> None:
        """Let the server end the session of a statement that it did not cancel."""
        with suppress(DatastoreError, psycopg.Error), self._aside() as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    @contextmanager
    def _aside(self) -> Iterator[Connection]:
        """A second connection, for a look at a statement that ran out of time."""
        short = replace(self, timeout=OBSERVING)
        with closing(short._open(None)) as connection, bounded(connection, OBSERVING, None, lambda pid: None):
            yield connection

    def _why_not(self, message: str) -> DatastoreError:
        try:
            return DatastoreRefused(message) if self.is_up() else DatastoreDown(f"nothing listens at {self.address}")
        except DatastoreUnreachable:
            return DatastoreUnreachable(message)

    def password_now(self) -> str | None:
        """The password of its file or of the url; None where there is neither."""
        given = self.password()
        return self.params.get("password") if given is None else given

    def _conninfo(self, database: str | None, *, locally: bool = False) -> str:
        # Nothing of a database's own may stand in for what the statements mean. The server ends by itself what a
        # killed agent leaves running.
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
    """What a connection string says. Raises `ConfigError`, which does not repeat it: it may hold a password."""
    try:
        return conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise ConfigError(f"{option}: not a connection string that PostgreSQL understands") from None


def said_by(error: psycopg.Error) -> str:
    """The server's own words in one line: what is wrong, the detail, and the hint, which often holds the cure."""
    diag = error.diag
    if not diag.message_primary:
        return " ".join(str(error).split())
    words = [diag.message_primary, diag.message_detail, f"Hint: {diag.message_hint}" if diag.message_hint else None]
    return ": ".join(" ".join(word.split()) for word in words if word)


def _is_conflict(error: psycopg.Error) -> bool:
    if error.sqlstate == "XX000":
        said = error.diag.message_primary or ""
        return error.diag.source_function in CATALOGUE_CONFLICTS or said.startswith("tuple concurrently")
    return error.sqlstate in SERIALIZATION


def one(connection: Connection, statement: Any, *values: object) -> Any:
    """The one column of the one row."""
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]


def all_of(connection: Connection, statement: Any, *values: object) -> list[Any]:
    """The one column of all rows."""
    return [row[0] for row in connection.execute(statement, values or None)]


@contextmanager
def changing(connection: Connection) -> Iterator[None]:
    """Alone among agents, once what a killed one left running has ended."""
    connection.execute("SELECT pg_advisory_lock(%s)", (CHANGES,))
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (CHANGES,))
