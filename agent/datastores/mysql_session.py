"""One connection to a MySQL or MariaDB: statements, quoting, and errors that are ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent.datastores import mysql_dialect_mysql
from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable, password_in
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_dialect import Dialect
from agent.datastores.mysql_dialect_mariadb import MARIADB

if TYPE_CHECKING:
    import pymysql

Row = dict[str, Any]

SHUTTING_DOWN = 1053
CLIENT_ERRORS = range(2000, 3000)
"""Numbers of what the driver itself found; all others are the server's."""
SYNTAX_ERROR = 1064
HELD = "SELECT privilege_type AS held FROM information_schema.user_privileges WHERE grantee = %s"
TURN = "agent.action"
"""The server's lock of those who change something or look whether they have to."""
OLDEST = {"MySQL": (8, 0, 23), "MariaDB": (10, 11)}


class ServerRefused(DatastoreRefused):
    """The server's own refusal, with its `number`."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class OutOfTime(DatastoreUnreachable):
    """No answer came in our time. The server still executes the statement of this `thread`: see `mysql_deadline`."""

    def __init__(self, message: str, thread: int | None) -> None:
        super().__init__(message)
        self.thread = thread


def quote(name: str) -> str:
    """An identifier between backticks, for a statement whose `%s` are yet to be filled in."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


class Session:
    """One connection that commits each statement; `where` names the server in messages."""

    def __init__(self, connection: pymysql.Connection[Any], address: Address) -> None:
        driver: Any = connection
        version = str(driver.get_server_info())
        self._connection = connection
        self.id = int(driver.thread_id())
        self._secrets: list[str] = []
        self.dialect = _dialect(version)
        self.where = f"{self.dialect.product} at {address}"
        if _numbers(version) < OLDEST[self.dialect.product]:
            raise DatastoreRefused(f"{self.where} is of version {version}, which is too old for the agent")

    def run(self, statement: str, *values: object, names: Sequence[str] = (), secret: str | None = None) -> list[Row]:
        """The rows of one statement. `{}` stands for an identifier of `names`, `%s` for a value.

        A `secret` is among the values, and is kept out of the server's own words and, where our user may, its logs.
        """
        if secret is not None:
            self._secrets.append(secret)
            self._log_nothing()
        from pymysql.cursors import DictCursor

        with _told(self.where, self._secrets, self.id), self._connection.cursor(DictCursor) as cursor:
            cursor.execute(statement.format(*map(quote, names)), values)
            return list(cursor.fetchall())

    def value(self, statement: str, *values: object) -> Any:
        """The first column of the first row."""
        return next(iter(self.run(statement, *values)[0].values()))

    def replica_status(self) -> list[Row]:
        """A row for each server that it follows, in today's words whatever the dialect."""
        rows = self.run(self.dialect.replica_status)
        return [{today(column): value for column, value in row.items()} for row in rows]

    @cached_property
    def folds_names(self) -> bool:
        """Whether the server takes names of databases that differ in case alone for the same."""
        return bool(self.value("SELECT @@lower_case_table_names"))

    def wait_at_most(self, seconds: float) -> None:
        """How long a statement waits for locks that others hold."""
        self.run("SET SESSION lock_wait_timeout = %s", max(1, round(seconds)))

    def lacks(self, *privileges: str) -> list[str]:
        """Which of these our user does not hold on all databases; what a role gives it does not count."""
        user, _, host = str(self.value("SELECT CURRENT_USER()")).rpartition("@")
        held = {row["held"] for row in self.run(HELD, f"'{user}'@'{host}'")}
        return [each for each in privileges if each not in held]

    def wait_for_turn(self, seconds: float, turn: str = TURN) -> None:
        """Hold a lock of the server's until the end of this session. Raises `DatastoreUnreachable`."""
        if not self.value("SELECT GET_LOCK(%s, %s)", turn, seconds):
            raise DatastoreUnreachable(f"{self.where} is still busy with an earlier statement of the agent")

    def _log_nothing(self) -> None:
        """Keep what follows out of the general and the slow log, where our user may."""
        for statement in self.dialect.log_nothing:
            with suppress(ServerRefused):
                self.run(statement)

    def keep_out_of_binary_log(self) -> None:
        """What follows is this server's own affair and goes to no replica."""
        self.run("SET SESSION sql_log_bin = 0")


@contextmanager
def connect(address: Address, timeout: float, *, patient: bool = False) -> Iterator[Session]:
    """A session. A statement may take `timeout` seconds, or for ever where we are `patient`."""
    import pymysql

    where = f"the server at {address}"
    password = password_of(address)
    with _told(where, [password or ""]):
        connection: pymysql.Connection[Any] = pymysql.connect(
            host=address.host,
            user=address.user,
            password=(password or "").encode(),
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=address.socket is not None,
            read_timeout=None if patient else timeout,
            write_timeout=None if patient else timeout,
            defer_connect=True,
        )
        # The driver says this of a unix socket that it opened itself. MySQL takes the password in clear there, and only
        # there: without it a login by caching_sha2_password fails whenever the server has not cached the account.
        connection._secure = address.socket is not None  # type: ignore[attr-defined]
        connection.connect(_socket(address, timeout))
    with closing(_Open(connection)):
        yield Session(connection, address)


def password_of(address: Address) -> str | None:
    """The content of the password file, read anew each time, else what the url has."""
    return address.password if address.password_file is None else password_in(address.password_file)


def _socket(address: Address, timeout: float) -> socket.socket:
    """Our own, as the driver leaves one open that it cannot connect. Raises `DatastoreDown` where nobody listens."""
    try:
        if address.socket is None:
            return _tcp(str(address.host), address.port, timeout)
        return _unix(address.socket, timeout)
    except (ConnectionRefusedError, FileNotFoundError):
        raise DatastoreDown(f"nothing listens at {address}") from None


def _tcp(host: str, port: int, timeout: float) -> socket.socket:
    opened = socket.create_connection((host, port), timeout)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return opened


def _unix(path: str, timeout: float) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(timeout)
        opened.connect(path)
    except OSError:
        opened.close()
        raise
    return opened


class _Open:
    """A connection that may have been lost by the time it is closed."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


@contextmanager
def _told(where: str, secrets: Sequence[str], thread: int | None = None) -> Iterator[None]:
    """The driver's errors as ours, of that thread of the server."""
    from pymysql import err

    try:
        yield
    except err.Error as error:
        number = error.args[0] if error.args else 0
        said = _said(number, str(error.args[-1]) if error.args else str(error), secrets)
        if isinstance(error.__context__, TimeoutError):
            raise OutOfTime(f"{where} does not answer: {said}", thread) from None
        if isinstance(error, err.InterfaceError) or number in CLIENT_ERRORS or number in (0, SHUTTING_DOWN):
            raise DatastoreUnreachable(f"{where} does not answer: {said}") from None
        raise ServerRefused(f"{where} refuses: {said} ({number})", number) from None
    except (OSError, UnicodeError, ValueError) as error:
        raise DatastoreUnreachable(f"{where} cannot be reached: {_masked(str(error), secrets)}") from None


def _said(number: int, text: str, secrets: Sequence[str]) -> str:
    """The server's words, except where they repeat some part of a statement that has a secret in it."""
    if number == SYNTAX_ERROR and any(secrets):
        return "it does not understand a statement that holds a secret"
    return _masked(text, secrets)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "********")
        text = text.replace(secret.replace("\\", "\\\\").replace("'", "\\'"), "********")
    return text


def _dialect(version: str) -> Dialect:
    return MARIADB if "mariadb" in version.lower() else mysql_dialect_mysql.of(_numbers(version))


def _numbers(version: str) -> tuple[int, ...]:
    """`10.11.19` of `5.5.5-10.11.19-MariaDB-log`."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    return tuple(map(int, found.groups())) if found else ()


def today(name: str) -> str:
    """The name of a column or variable in today's words."""
    for old, new in (("Master", "Source"), ("Slave", "Replica"), ("master", "source"), ("slave", "replica")):
        name = name.replace(old, new)
    return name
