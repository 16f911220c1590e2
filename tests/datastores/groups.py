"""A primary, its replica and an unrelated server of each datastore behind one interface."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.datastores import mysql_family, postgresql_nodes, redis_nodes
from tests.kinds.configuring import over, toml
from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that
from tests.servers.redis import MAKES as REDIS_MAKES, RedisServer, binary_of

DATASTORES = ("postgresql", *mysql_family.MAKES, *REDIS_MAKES)


class Group(ABC):
    """Server `b` follows `a`; `c` is a primary of another cluster, with data of its own."""

    a: Any
    b: Any
    c: Any

    @abstractmethod
    def configuration(self, server: Any, peers: Mapping[str, int]) -> str:
        """The agent.toml of a server; `peers` are ports of 127.0.0.1 by their names."""

    @abstractmethod
    def write(self, server: Any) -> None:
        """Commit one more row, or key."""

    @abstractmethod
    def state(self, server: Any) -> object:
        """State that a plan must not change: process, role, source, settings, transactions, files beside the data."""

    @abstractmethod
    def await_in_step(self) -> None:
        """Await that `b` follows `a` and has all that `a` has."""


class PostgresGroup(Group):
    def __init__(self, directory: Path, ends: ExitStack) -> None:
        self.a, self.c = PostgresServer(directory / "a"), PostgresServer(directory / "c")
        for server in (self.a, self.c):
            ends.enter_context(server)
            server.psql(postgresql_nodes.FOR_RESYNC)
            server.psql("CREATE TABLE t AS SELECT 1 AS x")
        self.b = self.a.replica(directory / "b")
        ends.enter_context(closing(self.b))

    def configuration(self, server: Any, peers: Mapping[str, int]) -> str:
        own = {"peer.password": self.a.password, "replicator.password": self.a.replication_password}
        files = {}
        for name, password in own.items():
            files[name] = server.dir.with_name(f"{server.dir.name}.{name}")
            files[name].write_text(password)
            files[name].chmod(0o600)
        tables = {
            name: {
                "url": f"postgresql://postgres@127.0.0.1:{port}/postgres",
                "password_file": str(files["peer.password"]),
                "replication_user": "replicator",
                "replication_password_file": str(files["replicator.password"]),
            }
            for name, port in peers.items()
        }
        return postgresql_nodes.configured(server, peers=tables)

    def write(self, server: Any) -> None:
        server.psql("INSERT INTO t VALUES (1)")

    def state(self, server: Any) -> object:
        return (
            server.psql(
                "SELECT pg_postmaster_start_time(), pg_is_in_recovery(), pg_snapshot_xmax(pg_current_snapshot())"
            ),
            server.psql("SELECT name, setting FROM pg_settings WHERE source = 'configuration file' ORDER BY 1"),
            server.psql("SELECT slot_name FROM pg_replication_slots ORDER BY 1"),
            sorted(path.name for path in server.dir.iterdir()),
            sorted(path.name for path in server.data.iterdir()),
        )

    def await_in_step(self) -> None:
        self.b.await_streaming()
        written = self.a.psql("SELECT pg_current_wal_lsn()")
        postgresql_nodes.await_value(self.b, f"SELECT pg_last_wal_replay_lsn() >= '{written}'", "t")


class MysqlGroup(Group):
    def __init__(self, make: str, directory: Path, ends: ExitStack) -> None:
        kind = mysql_family.MAKES[make]
        self.a, self.c = kind(directory / "a"), kind(directory / "c")
        for server in (self.a, self.c):
            ends.enter_context(server)
            mysql_family.with_syncer(server)
            mysql_family.as_root(server, "CREATE DATABASE app")
            mysql_family.as_root(server, "CREATE TABLE app.t (x INT)")
            self.write(server)
        self.b = self.a.replica(directory / "b")
        ends.enter_context(closing(self.b))

    def configuration(self, server: Any, peers: Mapping[str, int]) -> str:
        file = mysql_family.password_file(server.dir.parent, mysql_family.SYNC_PASSWORD)
        tables = {
            name: {"url": f"mysql://syncer@127.0.0.1:{port}", "password_file": file} for name, port in peers.items()
        }
        return mysql_family.configuration(server, peers=tables)

    def write(self, server: Any) -> None:
        mysql_family.as_root(server, "INSERT INTO app.t VALUES (1)")

    def state(self, server: Any) -> object:
        status = "SHOW REPLICA STATUS" if server.name == "mysqld" else "SHOW ALL SLAVES STATUS"
        return (
            server.pid,
            server.executed(),
            mysql_family.as_root(server, "SELECT @@global.read_only"),
            [re.findall(r"127\.0\.0\.1", str(row)) for row in mysql_family.as_root(server, status)],
            mysql_family.as_root(server, "SELECT user, host FROM mysql.user ORDER BY 1, 2"),
            mysql_family.as_root(server, "SHOW DATABASES"),
            sorted(path.name for path in server.dir.iterdir()),
        )

    def await_in_step(self) -> None:
        await_that(lambda: mysql_family.store(self.b).role().streaming, 20, "replication")
        self.b.await_replica(self.a)


class RedisGroup(Group):
    def __init__(self, make: str, directory: Path, ends: ExitStack) -> None:
        options: dict[str, Any] = {"binary": binary_of(make), "appendonly": False}
        self.a = ends.enter_context(RedisServer(directory / "a", **options))
        self.b = ends.enter_context(RedisServer(directory / "b", replica_of=self.a, **options))
        self.c = ends.enter_context(RedisServer(directory / "c", **options))
        self.keys = 0
        for server in (self.a, self.c):
            self.write(server)
        # A server that has never replicated has no id that shows another group.
        ends.enter_context(RedisServer(directory / "of-c", replica_of=self.c, **options)).await_replica()
        self.await_in_step()

    def configuration(self, server: Any, peers: Mapping[str, int]) -> str:
        document = over(server)
        document["datastore"]["peers"] = {name: {"url": f"redis://127.0.0.1:{port}"} for name, port in peers.items()}
        return toml(document)

    def write(self, server: Any) -> None:
        self.keys += 1
        server.cli("set", f"k{self.keys}", "1")

    def state(self, server: Any) -> object:
        info = server.cli("info", "server", "persistence").splitlines()
        return (
            [line for line in info if line.startswith(("run_id:", "rdb_changes_since_last_save:"))],
            redis_nodes.followed_by(server),
            redis_nodes.settings_of(server),
            server.cli("dbsize"),
            server.cli("acl", "list"),
            server.config.read_text(),
            sorted(path.name for path in server.dir.iterdir()),
        )

    def await_in_step(self) -> None:
        redis_nodes.in_step(self.a, self.b)


@contextmanager
def group_of(datastore: str, directory: Path) -> Iterator[Group]:
    """The servers of one of `DATASTORES`, running."""
    with ExitStack() as ends:
        if datastore == "postgresql":
            yield PostgresGroup(directory, ends)
        elif datastore in mysql_family.MAKES:
            yield MysqlGroup(datastore, directory, ends)
        else:
            yield RedisGroup(datastore, directory, ends)
