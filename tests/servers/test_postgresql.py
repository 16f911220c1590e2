"""The PostgreSQL of the tests is real: it replicates, is promoted, and comes back from a kill."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that, run


def test_a_replica_follows_and_can_be_promoted(postgres_server: PostgresServer, server_dir: Path) -> None:
    postgres_server.psql("create table followed as select 1 as x")
    replica = postgres_server.replica(server_dir / "b")
    try:
        replica.await_streaming()
        postgres_server.psql("insert into followed values (2)")
        await_that(lambda: replica.psql("select sum(x) from followed") == "3", 5, "the insert")
        assert replica.psql("select pg_is_in_recovery()") == "t"
        assert replica.psql("select pg_promote(true, 30)") == "t"
        replica.psql("insert into followed values (3)")
    finally:
        replica.close()


def test_a_write_survives_kill_and_start(postgres_server: PostgresServer) -> None:
    postgres_server.psql("create table kept as select 42 as x")
    before = postgres_server.pid
    postgres_server.kill()
    assert postgres_server.pid is None and postgres_server.pidfile.exists()
    postgres_server.start()
    assert postgres_server.pid != before
    assert postgres_server.psql("select x from kept") == "42"


def test_tcp_needs_the_password(postgres_server: PostgresServer) -> None:
    psql = str(postgres_server.bin / "psql")
    right = postgres_server.dsn(password=postgres_server.password)
    assert run([psql, "-Atc", "select inet_server_addr()", right]).strip() == "127.0.0.1"
    with pytest.raises(RuntimeError, match="password authentication failed"):
        run([psql, "-c", "select 1", postgres_server.dsn(password="wrong")])


def test_postgresql_can_be_driven_by_commands_alone(postgres_server: PostgresServer) -> None:
    assert run(postgres_server.pid_command).strip() == str(postgres_server.pid)
    run(postgres_server.stop_command)
    assert subprocess.run(postgres_server.pid_command, capture_output=True).returncode == 1
    run(postgres_server.stop_command)
    run(postgres_server.start_command)
    assert run(postgres_server.pid_command).strip() == str(postgres_server.pid)
