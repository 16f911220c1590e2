"""PostgreSQL, MariaDB and Redis in booted nodes: a primary and two replicas, with agents and clients."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg
import pymysql
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.datastores.postgresql_nodes import FOR_RESYNC
from tests.servers.node import Node
from tests.servers.postgresql import newest_debian
from tests.servers.process import await_that, run

PASSWORD = "correct-horse-17"
SECRET = "peers.password"
SECRET_FILE = f"/etc/agent/{SECRET}"


def ok(node: Node, *argv: str, input: str | None = None) -> str:
    """The output of a command that must succeed."""
    done = node.run(*argv, timeout=300, input=input)
    assert done.returncode == 0, (argv, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


class PostgreSQL:
    """PostgreSQL of Debian, run by its unit. The agent runs as the owner of its data."""

    version = newest_debian().parts[-2]
    unit, user = f"postgresql@{version}-main.service", "postgres"
    data = f"/var/lib/postgresql/{version}/main"

    def prepare(self, nodes: Mapping[str, Node], addresses: Mapping[str, str]) -> None:
        """Start the first as the primary of the others."""
        first, *others = nodes.values()
        configuration = f"/etc/postgresql/{self.version}/main"
        for node in nodes.values():
            ok(node, "rm", "-rf", self.data, configuration)
        ok(first, "pg_createcluster", self.version, "main", "--", "--data-checksums", "--no-sync")
        settings = "listen_addresses = '*'\nwal_log_hints = on\nwal_keep_size = 128MB\n"
        ok(first, "tee", "--append", f"{configuration}/postgresql.conf", input=settings)
        more = "host all all 192.0.2.0/24 scram-sha-256\nhost replication all 192.0.2.0/24 scram-sha-256\n"
        ok(first, "tee", "--append", f"{configuration}/pg_hba.conf", input=more)
        for node in others:
            run(["cp", "-a", first.path(configuration), node.path(configuration)])
        first.systemctl("start", self.unit)
        roles = f"ALTER ROLE postgres PASSWORD '{PASSWORD}'; CREATE ROLE replicator PASSWORD '{PASSWORD}'"
        sql = f"{roles} LOGIN REPLICATION; CREATE TABLE t (x int PRIMARY KEY); {FOR_RESYNC}"
        self._psql(first, sql)
        source = f"host={next(iter(addresses.values()))} user=replicator password={PASSWORD}"
        for node in others:
            copy = ("pg_basebackup", "-d", source, "-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")
            ok(node, "runuser", "-u", self.user, "--", *copy)
            node.systemctl("start", self.unit)

    def options(self, others: Mapping[str, str]) -> dict[str, Any]:
        """`[datastore]` of a node; `others` are the addresses of its peers."""
        return {
            "kind": "postgresql",
            "url": "postgresql://postgres@/postgres?host=/run/postgresql",
            "data_directory": self.data,
            "peers": {
                name: {
                    "url": f"postgresql://postgres@{address}:5432/postgres",
                    "password_file": SECRET_FILE,
                    "replication_user": "replicator",
                    "replication_password_file": SECRET_FILE,
                }
                for name, address in others.items()
            },
        }

    def numbers(self, node: Node) -> set[int]:
        """The written numbers that the server has."""
        return {int(line) for line in self._psql(node, "SELECT x FROM t").split()}

    def connect(self, address: str) -> PostgreSQLSession:
        """Connect like the clients."""
        return PostgreSQLSession(address)

    def break_start(self, node: Node) -> None:
        """Let the next start fail."""
        ok(node, "pg_conftool", self.version, "main", "set", "shared_buffers", "nonsense")

    def mend_start(self, node: Node) -> None:
        """Undo `break_start`, and start the server."""
        ok(node, "pg_conftool", self.version, "main", "remove", "shared_buffers")
        node.systemctl("reset-failed", self.unit)
        node.systemctl("start", self.unit)

    def _psql(self, node: Node, sql: str) -> str:
        return ok(node, "runuser", "-u", self.user, "--", "psql", "-XAtq", input=sql)


class PostgreSQLSession:
    def __init__(self, address: str) -> None:
        self._client = psycopg.connect(
            host=address, user="postgres", password=PASSWORD, dbname="postgres", autocommit=True, connect_timeout=1,
            options="-c statement_timeout=5000",
        )  # fmt: skip
        self.close = self._client.close

    def write(self, number: int) -> None:
        self._client.execute("INSERT INTO t VALUES (%s)", (number,))

    def read(self) -> None:
        self._client.execute("SELECT max(x) FROM t").fetchall()


class MariaDB:
    """MariaDB of Debian, run by its unit. A server starts read-only: only a promotion makes it accept writes."""

    unit, user = "mariadb.service", "agent"
    configuration = "/etc/mysql/mariadb.conf.d/99-fleet.cnf"

    def prepare(self, nodes: Mapping[str, Node], addresses: Mapping[str, str]) -> None:
        """Start the first as the primary of the others."""
        for number, node in enumerate(nodes.values(), 1):
            node.write(self.configuration, self._settings(number))
            node.systemctl("start", self.unit)
            await_that(lambda: node.run("mariadb", "-e", "SELECT 1").returncode == 0, 60)  # noqa: B023
            self._sql(node, "RESET MASTER; SET GLOBAL gtid_slave_pos = ''")
        first, *others = nodes.values()
        self._sql(
            first,
            f"""SET GLOBAL read_only = 0; CREATE DATABASE app; CREATE TABLE app.t (x BIGINT PRIMARY KEY);
            CREATE USER agent@localhost IDENTIFIED VIA unix_socket;
            GRANT ALL ON *.* TO agent@localhost WITH GRANT OPTION;
            CREATE USER writer IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON app.* TO writer;
            CREATE USER syncer IDENTIFIED BY '{PASSWORD}'; GRANT SELECT, RELOAD, PROCESS, LOCK TABLES, SHOW VIEW, EVENT,
            TRIGGER, REPLICATION SLAVE, REPLICATION CLIENT, SLAVE MONITOR ON *.* TO syncer""",
        )
        for node in others:
            self._sql(
                node,
                f"""CHANGE MASTER TO master_host = '{next(iter(addresses.values()))}', master_user = 'syncer',
                master_password = '{PASSWORD}', master_use_gtid = slave_pos; START SLAVE""",
            )

    def options(self, others: Mapping[str, str]) -> dict[str, Any]:
        """`[datastore]` of a node; `others` are the addresses of its peers."""
        peers = {
            name: {"url": f"mysql://syncer@{address}:3306", "password_file": SECRET_FILE}
            for name, address in others.items()
        }
        return {"kind": "mysql", "url": "mysql+unix://agent@/run/mysqld/mysqld.sock", "peers": peers}

    def numbers(self, node: Node) -> set[int]:
        """The written numbers that the server has."""
        return {int(line) for line in self._sql(node, "SELECT x FROM app.t").split()}

    def connect(self, address: str) -> MariaDBSession:
        """Connect like the clients."""
        return MariaDBSession(address)

    def break_start(self, node: Node) -> None:
        """Let the next start fail."""
        ok(node, "tee", "--append", self.configuration, input="nonsense = 1\n")

    def mend_start(self, node: Node) -> None:
        """Undo `break_start`, and start the server."""
        ok(node, "sed", "-i", "/nonsense/d", self.configuration)
        node.systemctl("reset-failed", self.unit)
        node.systemctl("start", self.unit)

    def _sql(self, node: Node, sql: str) -> str:
        return ok(node, "mariadb", "-N", input=sql)

    def _settings(self, number: int) -> str:
        return f"""[mariadbd]
bind-address = 0.0.0.0
server-id = {number}
log-bin = bin
log-slave-updates = 1
gtid-strict-mode = 1
read-only = 1
skip-name-resolve
"""


class MariaDBSession:
    def __init__(self, address: str) -> None:
        self._client = pymysql.connect(
            host=address, user="writer", password=PASSWORD, database="app", autocommit=True, connect_timeout=1,
            read_timeout=5, write_timeout=5, ssl_disabled=True,
        )  # fmt: skip
        self.close = self._client.close

    def write(self, number: int) -> None:
        with closing(self._client.cursor()) as cursor:
            cursor.execute("INSERT INTO t VALUES (%s)", (number,))

    def read(self) -> None:
        with closing(self._client.cursor()) as cursor:
            cursor.execute("SELECT max(x) FROM t")


class Redis:
    """Redis of Debian, run by its unit, with an append-only file."""

    unit, user = "redis-server.service", "agent"
    configuration = "/etc/redis/redis.conf"

    def prepare(self, nodes: Mapping[str, Node], addresses: Mapping[str, str]) -> None:
        """Start the first as the primary of the others."""
        source = next(iter(addresses.values()))
        for name, node in nodes.items():
            follow = "" if addresses[name] == source else f"replicaof {source} 6379\n"
            more = (
                f"bind 0.0.0.0\nprotected-mode no\nappendonly yes\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n"
                f"repl-diskless-sync-delay 0\n{follow}"
            )
            ok(node, "tee", "--append", self.configuration, input=more)
            node.systemctl("start", self.unit)

    def options(self, others: Mapping[str, str]) -> dict[str, Any]:
        """`[datastore]` of a node; `others` are the addresses of its peers."""
        peers = {
            name: {"url": f"redis://{address}:6379", "password_file": SECRET_FILE} for name, address in others.items()
        }
        return {"kind": "redis", "url": "redis://127.0.0.1:6379", "password_file": SECRET_FILE, "peers": peers}

    def numbers(self, node: Node) -> set[int]:
        """The written numbers that the server has."""
        words = ("redis-cli", "--no-auth-warning", "-a", PASSWORD, "SMEMBERS", "t")
        return {int(line) for line in ok(node, *words).split()}

    def connect(self, address: str) -> RedisSession:
        """Connect like the clients."""
        return RedisSession(address)

    def break_start(self, node: Node) -> None:
        """Let the next start fail."""
        ok(node, "tee", "--append", self.configuration, input="nonsense 1\n")

    def mend_start(self, node: Node) -> None:
        """Undo `break_start`, and start the server."""
        ok(node, "sed", "-i", "/nonsense/d", self.configuration)
        node.systemctl("reset-failed", self.unit)
        node.systemctl("start", self.unit)


class RedisSession:
    def __init__(self, address: str) -> None:
        self._client = redis.Redis(
            host=address, password=PASSWORD, socket_connect_timeout=1, socket_timeout=5, retry=Retry(NoBackoff(), 0)
        )  # fmt: skip
        self._client.ping()
        self.close = self._client.close

    def write(self, number: int) -> None:
        self._client.sadd("t", str(number))

    def read(self) -> None:
        self._client.scard("t")


Server = PostgreSQL | MariaDB | Redis


def config_of(name: str, server: Server, addresses: Mapping[str, str], api: dict[str, Any]) -> dict[str, Any]:
    """`agent_config` of a node."""
    others = {other: address for other, address in addresses.items() if other != name}
    return {
        "agent": {"node": name},
        "api": api,
        "service": {"unit": server.unit},
        "datastore": server.options(others),
        "host": {"reboot": ["systemctl", "--no-ask-password", "reboot"]},
    }
