"""The MariaDB of the tests is real: it replicates, is promoted, and comes back from a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.mariadb import MariaDBServer
from tests.servers.process import run


def test_a_replica_follows_and_can_be_promoted(mariadb_server: MariaDBServer, server_dir: Path) -> None:
    mariadb_server.sql("create database app; create table app.t (x int primary key)")
    with mariadb_server.replica(server_dir / "b") as replica:
        mariadb_server.sql("insert into app.t values (7)")
        replica.await_replica(mariadb_server)
        assert replica.sql("select x from app.t") == "7"
        assert "Slave_SQL_Running: Yes" in replica.sql("show slave status", "--vertical")
        replica.sql("stop slave; reset slave all; set global read_only=0")
        replica.sql("insert into app.t values (8)")


def test_a_write_survives_kill_and_start(mariadb_server: MariaDBServer) -> None:
    mariadb_server.sql("create database kept; create table kept.t as select 42 as x")
    before = mariadb_server.pid
    mariadb_server.kill()
    assert mariadb_server.pid is None and mariadb_server.pidfile.exists()
    mariadb_server.start()
    assert mariadb_server.pid != before
    assert mariadb_server.sql("select x from kept.t") == "42"


def test_tcp_needs_the_password(mariadb_server: MariaDBServer) -> None:
    mariadb_server.sql("create user app@'127.0.0.1' identified by 'right'")
    argv = [
        str(mariadb_server.client), "--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uapp",
        f"-P{mariadb_server.port}", "-Ne", "select current_user()",
    ]  # fmt: skip
    assert run(argv, env={"MYSQL_PWD": "right"}).strip() == "app@127.0.0.1"
    with pytest.raises(RuntimeError, match="Access denied"):
        run(argv, env={"MYSQL_PWD": "wrong"})


def test_mariadb_can_be_driven_by_commands_alone(mariadb_server: MariaDBServer) -> None:
    run(mariadb_server.stop_command)
    assert mariadb_server.pid is None
    mariadb_server.start()
    assert run(mariadb_server.pid_command).strip() == str(mariadb_server.pid)
