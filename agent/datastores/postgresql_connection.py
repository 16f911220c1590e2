"""Connections to PostgreSQL that end in a bounded time and whose errors are ours."""

from __future__ import annotations

import errno
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.errors import ConfigError
from agent.stop import Stop

Connection = psycopg.Connection[tuple[Any, ...]]

LOOK_EVERY = 0.05
"""Seconds between two looks at whether to give up a statement."""
HANG = 5.0
"""Seconds more than `timeout` after which a server that called off no statement hangs."""
CHANGES = 0x6167656E74
"""The advisory lock under which the agent changes databases and users: a killed agent's last statement still has it."""
CANCELLED = "57014"
SHUT_DOWN = ("57P01", "57P02", "57P03")


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
    def connect(self, database: str | None = None, stop: Stop | None = None) -> Iterator[Connection]:
        """A connection in autocommit mode; `stop` calls off the statement that runs.

        Raises `DatastoreDown`, `DatastoreUnreachable` and `DatastoreRefused`, inside as well.
        """
        connection = self._open(database)
        with closing(connection):
            try:
                with _bounded(connection, self.timeout + HANG, stop):
                    yield connection
            except psycopg.Error as error:
                raise self.told(error, connection, stop) from None

    def is_up(self) -> bool:
        """Whether it answers, be it with a refusal. Raises `DatastoreUnreachable` if in doubt."""
        answer = pq.PGconn.ping(self._conninfo(None).encode())
        if answer in (pq.Ping.OK, pq.Ping.REJECT):
            return True
        if self._nobody_listens():
            return False
        raise DatastoreUnreachable(f"PostgreSQL at {self.address} does not answer")

    def lets_in(self) -> bool:
        """Whether it takes connections, which it does not before its data is consistent."""
        return pq.PGconn.ping(self._conninfo(None).encode()) == pq.Ping.OK

    def told(self, error: psycopg.Error, connection: Connection, stop: Stop | None = None) -> DatastoreError:
        """The error as one of ours, with the server's words."""
        where, said = f"PostgreSQL at {self.address}", said_by(error)
        if error.sqlstate == CANCELLED and stop is not None and stop.requested:
            return DatastoreRefused(f"{where} was asked to stop what it did: {stop.reason}")
        if error.sqlstate == CANCELLED:
            return DatastoreRefused(f"{where} took longer than {self.timeout:g} s (datastore.timeout): {said}")
        if error.sqlstate in SHUT_DOWN or connection.broken:
            return DatastoreUnreachable(f"{where} ended the connection: {said}")
        return DatastoreRefused(f"{where} refuses: {said}")

    def _open(self, database: str | None) -> Connection:
        try:
            return psycopg.connect(self._conninfo(database), password=self.password_now(), autocommit=True)
        except psycopg.OperationalError as error:
            message = f"PostgreSQL at {self.address} cannot be connected to: {said_by(error)}"
            raise self._why_not(message) from None

    def _why_not(self, message: str) -> DatastoreError:
        try:
            return DatastoreRefused(message) if self.is_up() else DatastoreDown(f"nothing listens at {self.address}")
        except DatastoreUnreachable:
            return DatastoreUnreachable(message)

    def password_now(self) -> str | None:
        """The password of its file or of the url; None where there is neither."""
        given = self.password()
        return self.params.get("password") if given is None else given

    def _conninfo(self, database: str | None) -> str:
        # Nothing of a database's own may stand in for what the statements mean.
        milliseconds = math.ceil(self.timeout * 1000)
        options = f"-c statement_timeout={milliseconds} -c search_path=pg_catalog,pg_temp"
        ours: dict[str, Any] = {
            "connect_timeout": math.ceil(self.timeout),
            "application_name": "agent",
            "options": f"{self.params.get('options', '')} {options}",
        }
        if database is not None:
            ours["dbname"] = database
        return make_conninfo(**{**self.params, "password": None} | ours)

    def _nobody_listens(self) -> bool:
        """Whether a connection is refused, or its unix socket is not there."""
        host, port = str(self.params.get("host") or "localhost"), str(self.params.get("port") or 5432)
        try:
            if host.startswith("/"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(self.timeout)
                    client.connect(f"{host}/.s.PGSQL.{port}")
            else:
                socket.create_connection((host, int(port)), self.timeout).close()
        except OSError as error:
            return error.errno in (errno.ECONNREFUSED, errno.ENOENT)
        except ValueError:  # several hosts
            return False
        return False


def parse(conninfo: str, option: str) -> dict[str, Any]:
    """What a connection string says. Raises `ConfigError`, which does not repeat it: it may hold a password."""
    try:
        return conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise ConfigError(f"{option}: not a connection string that PostgreSQL understands") from None


def said_by(error: psycopg.Error) -> str:
    """The server's own words in one line."""
    words = [error.diag.message_primary, error.diag.message_detail] if error.diag.message_primary else [str(error)]
    return ": ".join(" ".join(word.split()) for word in words if word)


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


@contextmanager
def _bounded(connection: Connection, seconds: float, stop: Stop | None) -> Iterator[None]:
    """Call off the statement that runs when `stop` is requested; hang up where one takes more than `seconds`."""
    over = threading.Event()

    def watch() -> None:
        since = time.monotonic()
        while not over.wait(LOOK_EVERY):
            if connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
                since = time.monotonic()
            elif stop is not None and stop.requested:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=HANG)
            elif time.monotonic() - since > seconds:
                return _hang_up(connection)

    watcher = threading.Thread(target=watch, name="postgresql", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _hang_up(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
