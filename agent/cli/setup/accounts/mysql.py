"""Creates the agent's account in MySQL or MariaDB, as root through the server's socket."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from agent.cli.exits import Usage
from agent.cli.setup.accounts import account as accounts
from agent.cli.setup.accounts.account import Account
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server

SECONDS = 30
DATA = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, "
    "EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER"
)
GRANTS = {
    "MariaDB": (
        f"GRANT {DATA}, DELETE HISTORY ON *.* TO %s@'localhost' WITH GRANT OPTION",
        "GRANT CREATE USER, PROCESS, RELOAD, SHOW DATABASES, SHUTDOWN, SLAVE MONITOR, REPLICATION SLAVE ADMIN, "
        "READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO %s@'localhost'",
    ),
    "MySQL": (
        f"GRANT {DATA} ON *.* TO %s@'localhost' WITH GRANT OPTION",
        "GRANT CREATE USER, PROCESS, RELOAD, SHOW DATABASES, SHUTDOWN, REPLICATION CLIENT ON *.* TO %s@'localhost'",
        "GRANT CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, SYSTEM_VARIABLES_ADMIN ON *.* TO %s@'localhost'",
    ),
}
"""The rights of docs/mysql.rst: for all kinds except a resync."""
ALL = "GRANT ALL ON *.* TO %s@'localhost' WITH GRANT OPTION"
"""For a resync, which replaces all data with the accounts."""
CREATE = {
    "MariaDB": "CREATE USER IF NOT EXISTS %s@'localhost' IDENTIFIED VIA unix_socket",
    "MySQL": "CREATE USER IF NOT EXISTS %s@'localhost' IDENTIFIED WITH caching_sha2_password BY %s",
}


def account(server: Server, user: str) -> Account:
    """An account that logs in as the user of the system on MariaDB, and by password on MySQL. Raises `Usage`."""
    socket = _socket(server)
    with _root(socket) as cursor:
        make = "MariaDB" if "MariaDB" in _value(cursor, "SELECT version()") else "MySQL"
        present = _exists(cursor, user)
        if not present and int(_value(cursor, "SELECT @@global.read_only")):
            raise Usage(f"this server is read-only and has no account {user}: run agentctl setup on its primary first")
    password = None if make == "MariaDB" else accounts.password()
    if present and password is not None and not accounts.PASSWORD_FILE.exists():
        raise Usage(f"{make} has an account {user}@localhost that setup did not make: drop it, or name another --user")
    resyncs = user == server.owner
    options = {"url": f"mysql+unix://{quote(user, safe='')}@{quote(socket)}"}
    if resyncs:
        options["data_directory"] = str(server.folder)
    note: Note = {"what": "account", "datastore": "mysql", "user": user, "socket": socket}
    rights = "all rights, as a resync needs" if resyncs else "the rights of docs/mysql.rst, without a resync"

    def create() -> None:
        with _root(socket) as cursor:
            cursor.execute(CREATE[make], (user,) if password is None else (user, password))
            for grant in (ALL,) if resyncs else GRANTS[make]:
                cursor.execute(grant, (user,))

    def is_made() -> bool:
        with _root(socket) as cursor:
            return _exists(cursor, user)

    login = "the user of this host is the login" if password is None else "a random password"
    description = f"create the account {user}@localhost in {make}: {rights}; {login}"
    return Account(options, (Change(description, is_made, create, note),), password)


def undo(note: Note) -> str:
    """Drop the account. Returns what was done. Raises `Usage`."""
    user = note["user"]
    with _root(note["socket"]) as cursor:
        if not _exists(cursor, user):
            return ""
        cursor.execute("DROP USER %s@'localhost'", (user,))
    return f"dropped the account {user}@localhost"


def _socket(server: Server) -> str:
    found = [each for each in server.listens.sockets if "mysqlx" not in each]
    if not found:
        raise Usage(f"{server.unit} listens on no unix socket: configure one, or write /etc/agent/agent.toml by hand")
    return found[0]


@contextmanager
def _root(socket: str) -> Iterator[Any]:
    """A cursor of the server's root. Raises `Usage`, also for errors of statements, without their text."""
    try:
        import pymysql
    except ImportError:
        raise Usage("the driver is missing: install the agent with its extra [mysql]") from None
    try:
        login: dict[str, Any] = {"user": "root", "unix_socket": socket, "password": os.environ.get("MYSQL_PWD", "")}
        with closing(
            pymysql.connect(**login, connect_timeout=SECONDS, read_timeout=SECONDS, autocommit=True)
        ) as opened:
            yield opened.cursor()
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else "unknown"
        hint = "; name root's password in $MYSQL_PWD" if code in (1045, 1698) else ""
        raise Usage(f"root of the server at {socket} failed with error {code}{hint}") from None


def _exists(cursor: Any, user: str) -> bool:
    return bool(_value(cursor, "SELECT count(*) FROM mysql.user WHERE user = %s AND host = 'localhost'", user) != "0")


def _value(cursor: Any, statement: str, *values: str) -> str:
    cursor.execute(statement, values)
    return str(cursor.fetchone()[0])
