"""The MySQL of the tests is real: it replicates, is promoted, and comes back from a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.mysql import MySQLServer
from tests.servers.process import run


def test_a_replica_follows_and_can_be_promoted(mysql_server: MySQLServer, server_dir: Path) -> None:
    mysql_server.sql("create database app; create table app.t (x int primary key)")
    with mysql_server.replica(server_dir / "b") as replica:
        mysql_server.sql("insert into app.t values (7)")
        replica.await_replica(mysql_server)
        assert replica.sql("select x from app.t") == "7"
        assert "Replica_SQL_Running: Yes" in replica.sql("show replica status", "--vertical")
        replica.sql("stop replica; reset replica all; set global read_only=0")
        replica.sql("insert into app.t values (8)")


def test_a_write_survives_kill_and_start(mysql_server: MySQLServer) -> None:
    mysql_server.sql("create database kept; create table kept.t as select 42 as x")
    before = mysql_server.pid
    mysql_server.kill()
    assert mysql_server.pid is None and mysql_server.pidfile.exists()
    mysql_server.start()
    assert mysql_server.pid != before
    assert mysql_server.sql("select x from kept.t") == "42"


def test_tcp_needs_the_password(mysql_server: MySQLServer) -> None:
    mysql_server.sql("create user app@'127.0.0.1' identified by 'right'")
    argv = [
        str(mysql_server.client), "--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-uapp",
        f"-P{mysql_server.port}", "--get-server-public-key", "-Ne", "select current_user()",
    ]  # fmt: skip
    assert run(argv, env={"MYSQL_PWD": "right"}).strip() == "app@127.0.0.1"
    with pytest.raises(RuntimeError, match="Access denied"):
        run(argv, env={"MYSQL_PWD": "wrong"})


def test_mysql_can_be_driven_by_commands_alone(mysql_server: MySQLServer) -> None:
    run(mysql_server.stop_command)
    assert mysql_server.pid is None
    mysql_server.start()
    assert run(mysql_server.pid_command).strip() == str(mysql_server.pid)
