"""Reachability, shutdown and databases of a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable, DriverMissing
from agent.datastores.postgresql import deadline
from agent.datastores.postgresql.datastore import PostgreSQL
from agent.errors import ConfigError
from agent.util.stop import Stop
from tests.datastores.postgresql_nodes import datastore_of, query
from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that

NAMES = ["plain", 'with "quotes"', "two words", "ünï ✓", "100%", "%s %(name)s", "a;-- DROP", "'", "{}", "SELECT"]


@pytest.fixture
def postgres(server_dir: Path) -> Iterator[PostgresServer]:
    """A server for this test alone."""
    with PostgresServer(server_dir / "pg") as server:
        yield server


def test_postgresql_shuts_down_and_is_down(postgres: PostgresServer) -> None:
    store, pid = datastore_of(postgres), postgres.pid
    assert store.is_up()
    with psycopg.connect(postgres.dsn()):  # an idle session does not prevent the shutdown
        message = store.shut_down(10, Stop())
    assert message == f"PostgreSQL at {postgres.dir}:{postgres.port} (pid {pid}) has shut down"
    assert not store.is_up() and postgres.pid is None
    with pytest.raises(DatastoreDown, match=f"nothing listens at {postgres.dir}"):
        store.shut_down(10, Stop())
    assert "database system is shut down" in postgres.log_tail()


def test_a_killed_server_is_down(postgres: PostgresServer) -> None:
    postgres.kill()
    assert not datastore_of(postgres).is_up()  # its socket is still there
    over_tcp = datastore_of(postgres, url=f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres")
    assert not over_tcp.is_up()


def test_postmaster_pid_of_another_server_is_refused(postgres: PostgresServer, server_dir: Path) -> None:
    with PostgresServer(server_dir / "other") as other:
        with pytest.raises(DatastoreRefused, match=r"postmaster\.pid does not belong to the server at"):
            datastore_of(postgres, data_directory=str(other.data)).shut_down(10, Stop())
        assert other.answers() and postgres.answers()


def test_hanging_postgresql_is_unreachable_and_not_down(postgres: PostgresServer) -> None:
    pid = postgres.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatastoreUnreachable) as raised:
            datastore_of(postgres, timeout=2).is_up()
        assert not isinstance(raised.value, DatastoreDown)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_wrong_password_is_refused_and_never_shown(postgres_server: PostgresServer, server_dir: Path) -> None:
    store = datastore_of(postgres_server, url=postgres_server.dsn(password="wrong-horse"))
    assert store.is_up()
    with pytest.raises(DatastoreRefused, match="password authentication failed") as raised:
        store.database_exists("x")
    assert "horse" not in str(raised.value)
    (server_dir / "password").write_text(f"{postgres_server.password}\n")
    right = datastore_of(
        postgres_server, url=postgres_server.dsn(password="wrong-horse"), password_file=str(server_dir / "password")
    )
    assert right.database_exists("postgres")


@pytest.mark.parametrize("url", ["mysql://:horse@/x", "postgresql://a:hor%zzse@h/d", "postgresql://h/d?horse=1"])
def test_invalid_url_stops_the_start_and_is_not_repeated(url: str, postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigError, match=r"datastore\.url: ") as raised:
        datastore_of(postgres_server, url=url)
    assert "hor" not in str(raised.value)


def test_missing_driver_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer
) -> None:
    monkeypatch.setattr(PostgreSQL, "driver", "a_driver_that_nobody_installed")
    with pytest.raises(DriverMissing, match=r"install the agent with its extra \[postgresql\]"):
        datastore_of(postgres_server)


@pytest.mark.parametrize("name", NAMES)
def test_database_with_any_name_is_created_and_deleted(name: str, postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server)
    assert not store.database_exists(name)
    store.create_database(name, {})
    assert store.database_exists(name) and query(postgres_server, "SELECT current_database()", name) == name
    with pytest.raises(DatastoreRefused, match="exists already"):
        store.create_database(name, {})
    store.delete_database(name, force=False)
    assert not store.database_exists(name)
    with pytest.raises(DatastoreRefused, match="does not exist"):
        store.delete_database(name, force=False)


def test_database_in_use_is_deleted_only_with_force(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server)
    store.create_database("used", {})
    with psycopg.connect(postgres_server.dsn(database="used")) as client:
        with pytest.raises(DatastoreRefused, match="is being accessed by other users: 1 session"):
            store.delete_database("used", force=False)
        store.delete_database("used", force=True)
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


def test_name_that_the_server_would_truncate_is_refused(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server)
    store.create_database("x" * 63, {})
    assert not store.database_exists("x" * 64)
    with pytest.raises(DatastoreRefused, match="the name has 64 bytes, PostgreSQL allows 63"):
        store.create_database("x" * 64, {})
    with pytest.raises(DatastoreRefused, match="the name has 64 bytes"):
        store.create_user("ü" * 32, "p", [], "readonly")
    with pytest.raises(DatastoreRefused, match="NUL"):
        store.create_database("x\0y", {})


def test_owner_encoding_and_template_are_as_requested(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server)
    query(postgres_server, 'CREATE ROLE "its owner"')
    created = store.create_database("latin", {"owner": "its owner", "encoding": "LATIN1"})
    assert created == {"owner": "its owner", "encoding": "LATIN1", "collation": "C"}
    store.create_database("origin", {})
    query(postgres_server, "CREATE TABLE t AS SELECT 7 AS x", "origin")
    store.create_database("copy", {"template": "origin"})
    assert query(postgres_server, "SELECT x FROM t", "copy") == "7"
    with pytest.raises(DatastoreRefused, match='role "nobody" does not exist'):
        store.create_database("x", {"owner": "nobody"})
    with pytest.raises(DatastoreRefused, match="LATIN99 is not a valid encoding name"):
        store.create_database("x", {"encoding": "LATIN99"})
    assert not store.database_exists("x")


def test_system_databases_and_the_agents_database_are_recognized(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server, url=postgres_server.dsn(database="mine"))
    assert all(store.is_system_database(name) for name in ("postgres", "template0", "template1", "mine"))
    assert not store.is_system_database("Postgres")


def test_statement_that_exceeds_the_timeout_is_cancelled(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server, timeout=2)
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x6167656E74,))
        with pytest.raises(DatastoreRefused, match=r"took longer than 2 s \(datastore\.timeout\)"):
            store.create_database("late", {})
    assert not store.database_exists("late")


def test_statement_of_a_killed_agent_is_awaited(postgres_server: PostgresServer) -> None:
    """Its last statement continues in the server: the existence of the database is known only afterwards."""
    store, seen = datastore_of(postgres_server), []
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as killed:
        killed.execute("SELECT pg_advisory_lock(%s)", (0x6167656E74,))
        look = threading.Thread(target=lambda: seen.append(store.database_exists("under_way")))
        look.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
        await_that(lambda: query(postgres_server, waiting) == "1", 5, "the look waits")
        killed.execute("CREATE DATABASE under_way")
        assert seen == []
    look.join(10)
    assert seen == [True]


def test_server_that_hangs_during_a_statement_times_out(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "HANG", 0.5)
    store, errors = datastore_of(postgres, timeout=2), []

    def look() -> None:
        try:
            store.database_exists("x")
        except DatastoreUnreachable as error:
            errors.append(error)

    with psycopg.connect(postgres.dsn(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x6167656E74,))
        thread = threading.Thread(target=look)
        thread.start()
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory'"
        backend = int(await_that(lambda: query(postgres, waiting), 5, "the look waits"))
        os.kill(backend, signal.SIGSTOP)
        try:
            thread.join(60)
            assert errors and not thread.is_alive()
        finally:
            os.kill(backend, signal.SIGCONT)


def test_datastores_can_be_imported_without_psycopg() -> None:
    code = "import sys; sys.modules['psycopg'] = None; from agent import datastores; datastores.class_of('postgresql')"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


def test_only_modules_of_the_configured_datastore_are_imported() -> None:
    """The other datastores would take a third of the start of a resync's job."""
    code = "import sys, agent.datastores.resync_job as job; job.datastores.class_of('postgresql'); print(*sys.modules)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True)
    loaded = [name for name in done.stdout.split() if name.startswith("agent.datastores.")]
    assert any("postgresql" in name for name in loaded)
    assert [name for name in loaded if any(other in name for other in ("mysql", "mongodb", "redis"))] == []
