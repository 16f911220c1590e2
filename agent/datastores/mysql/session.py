"""One connection to a MySQL or MariaDB: statements, quoting, and translated errors."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable, password_in
from agent.datastores.mysql import dialect_mysql
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.dialect import Dialect
from agent.datastores.mysql.dialect_mariadb import MARIADB

if TYPE_CHECKING:
    import pymysql

Row = dict[str, Any]

SHUTTING_DOWN = 1053
CLIENT_ERRORS = range(2000, 3000)
"""Error numbers of the driver; all others are the server's."""
SYNTAX_ERROR = 1064
HELD = "SELECT privilege_type AS held FROM information_schema.user_privileges WHERE grantee = %s"
TURN = "agent.action"
"""Name of the server lock that agents hold while they change something or check for a change."""
OLDEST = {"MySQL": (8, 0, 23), "MariaDB": (10, 11)}


class ServerRefused(DatastoreRefused):
    """The server's error, with its `number`."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class OutOfTime(DatastoreUnreachable):
    """A statement timed out. The server still executes it in this `thread`: see `mysql.deadline`."""

    def __init__(self, message: str, thread: int | None) -> None:
        super().__init__(message)
        self.thread = thread


def quote(name: str) -> str:
    """A quoted identifier, with `%` escaped for a statement whose `%s` are replaced later."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


class Session:
    """One connection in autocommit mode; `where` names the server in messages."""

    def __init__(self, connection: pymysql.Connection[Any], address: Address) -> None:
        driver: Any = connection
        version = str(driver.get_server_info())
        self._connection = connection
        self.id = int(driver.thread_id())
        self._secrets: list[str] = []
        self.dialect = _dialect(version)
        self.where = f"{self.dialect.product} at {address}"
        if _numbers(version) < OLDEST[self.dialect.product]:
            raise DatastoreRefused(f"{self.where} has version {version}, which is too old for the agent")

    def run(self, statement: str, *values: object, names: Sequence[str] = (), secret: str | None = None) -> list[Row]:
        """Run one statement; returns its rows. `{}` stands for an identifier of `names`, `%s` for a value.

        `secret` is one of the values: it is masked in errors and, if the user has the privilege, kept out of the logs.
        """
        if secret is not None:
            self._secrets.append(secret)
            self._log_nothing()
        from pymysql.cursors import DictCursor

        with _translated_errors(self.where, self._secrets, self.id), self._connection.cursor(DictCursor) as cursor:
            cursor.execute(statement.format(*map(quote, names)), values)
            return list(cursor.fetchall())

    def value(self, statement: str, *values: object) -> Any:
        """The first column of the first row."""
        return next(iter(self.run(statement, *values)[0].values()))

    def replica_status(self) -> list[Row]:
        """One row per source, with the present column names for both products."""
        rows = self.run(self.dialect.replica_status)
        return [{today(column): value for column, value in row.items()} for row in rows]

    @cached_property
    def folds_names(self) -> bool:
        """Whether the server compares database names without case."""
        return bool(self.value("SELECT @@lower_case_table_names"))

    def wait_at_most(self, seconds: float) -> None:
        """Set how long a statement waits for locks."""
        self.run("SET SESSION lock_wait_timeout = %s", max(1, round(seconds)))

    def lacks(self, *privileges: str) -> list[str]:
        """Which of these privileges the user lacks on all databases; privileges from roles do not count."""
        user, _, host = str(self.value("SELECT CURRENT_USER()")).rpartition("@")
        held = {row["held"] for row in self.run(HELD, f"'{user}'@'{host}'")}
        return [each for each in privileges if each not in held]

    def wait_for_turn(self, seconds: float, turn: str = TURN) -> None:
        """Take a server lock until the end of this session. Raises `DatastoreUnreachable`."""
        if not self.value("SELECT GET_LOCK(%s, %s)", turn, seconds):
            raise DatastoreUnreachable(f"{self.where} is still busy with an earlier statement of the agent")

    def _log_nothing(self) -> None:
        """Exclude the next statements from the general and the slow log, if the user has the privilege."""
        for statement in self.dialect.log_nothing:
            with suppress(ServerRefused):
                self.run(statement)

    def keep_out_of_binary_log(self) -> None:
        """Exclude the next statements from the binary log, so that no replica gets them."""
        self.run("SET SESSION sql_log_bin = 0")


@contextmanager
def connect(address: Address, timeout: float, *, patient: bool = False) -> Iterator[Session]:
    """A session. A statement may take `timeout` seconds; `patient`: without limit."""
    import pymysql

    where = f"the server at {address}"
    password = password_of(address)
    with _translated_errors(where, [password or ""]):
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
        # The driver sets this for a unix socket that it opens itself: only then it sends the password in clear text,
        # which caching_sha2_password needs if the server has not cached the account.
        connection._secure = address.socket is not None  # type: ignore[attr-defined]
        connection.connect(_socket(address, timeout))
    with closing(_Open(connection)):
        yield Session(connection, address)


def password_of(address: Address) -> str | None:
    """The content of the password file, read at each call; without a file the password of the URL."""
    return address.password if address.password_file is None else password_in(address.password_file)


def _socket(address: Address, timeout: float) -> socket.socket:
    """A connected socket; the driver itself would leak one that fails to connect. Raises `DatastoreDown`."""
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
    """Close a connection that may have been lost."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        self._connection = connection

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()


@contextmanager
def _translated_errors(where: str, secrets: Sequence[str], thread: int | None = None) -> Iterator[None]:
    """Translate the driver's errors into `DatastoreError`s; `thread` is the server's thread of the session."""
    from pymysql import err

    try:
        yield
    except err.Error as error:
        number = error.args[0] if error.args else 0
        message = _message(number, str(error.args[-1]) if error.args else str(error), secrets)
        if isinstance(error.__context__, TimeoutError):
            raise OutOfTime(f"{where} does not answer: {message}", thread) from None
        if isinstance(error, err.InterfaceError) or number in CLIENT_ERRORS or number in (0, SHUTTING_DOWN):
            raise DatastoreUnreachable(f"{where} does not answer: {message}") from None
        raise ServerRefused(f"{where} refuses: {message} ({number})", number) from None
    except (OSError, UnicodeError, ValueError) as error:
        raise DatastoreUnreachable(f"{where} cannot be reached: {_masked(str(error), secrets)}") from None


def _message(number: int, text: str, secrets: Sequence[str]) -> str:
    """The server's message, replaced where it may repeat a part of a statement with a secret."""
    if number == SYNTAX_ERROR and any(secrets):
        return "syntax error in a statement that contains a secret"
    return _masked(text, secrets)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "********")
        text = text.replace(secret.replace("\\", "\\\\").replace("'", "\\'"), "********")
    return text


def _dialect(version: str) -> Dialect:
    return MARIADB if "mariadb" in version.lower() else dialect_mysql.of(_numbers(version))


def _numbers(version: str) -> tuple[int, ...]:
    """`10.11.19` of `5.5.5-10.11.19-MariaDB-log`."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    return tuple(map(int, found.groups())) if found else ()


def today(name: str) -> str:
    """The present name of a column or variable."""
    for old, new in (("Master", "Source"), ("Slave", "Replica"), ("master", "source"), ("slave", "replica")):
        name = name.replace(old, new)
    return name
