"""A statement that exceeds the timeout is cancelled on the server, checked again, and reported correctly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.postgresql import deadline
from agent.datastores.postgresql.connection import Conflict
from agent.datastores.postgresql.outcome import ATTEMPTS, repeated
from agent.plan import Would
from tests.agent_process import StartAgent
from tests.datastores.postgresql_nodes import await_value, configured, datastore_of, failed, query
from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that

CHANGES = 0x6167656E74
BACKEND = "SELECT pid FROM pg_stat_activity WHERE application_name = 'agent' AND query ~ '{}' AND state = 'active'"
DATABASES = "SELECT count(*) FROM pg_database WHERE datname = 'late'"
ROLES = "SELECT count(*) FROM pg_roles WHERE rolname = 'late'"


@contextmanager
def setting(server: PostgresServer, name: str, value: str) -> Iterator[None]:
    query(server, f"ALTER SYSTEM SET {name} = '{value}'")
    query(server, "SELECT pg_reload_conf()")
    await_value(server, f"SHOW {name}", value)
    try:
        yield
    finally:
        query(server, f"ALTER SYSTEM RESET {name}")
        query(server, "SELECT pg_reload_conf()")
        await_that(lambda: query(server, f"SHOW {name}") != value, 10, "the setting as before")


def test_change_is_refused_at_once_while_commits_are_blocked(
    postgres_server: PostgresServer, start_agent: StartAgent
) -> None:
    agent = start_agent(config=configured(postgres_server))
    with setting(postgres_server, "synchronous_standby_names", "gone"):
        message = failed(agent, "database_create", {"name": "late"})
        plan = datastore_of(postgres_server).plan_create_user("late", [], "readonly")
    assert "synchronous_standby_names = 'gone' requires 1 standby, and none of these follows" in message
    assert plan.would is Would.REFUSE and "synchronous_standby_names" in plan.summary
    assert query(postgres_server, DATABASES) == "0"


def test_hanging_synchronous_standby_leaves_neither_database_nor_user(
    postgres_server: PostgresServer, server_dir: Path
) -> None:
    """The standby is there when the action begins, so that only the commit itself shows that it waits."""
    replica = postgres_server.replica(server_dir / "standby", slot="deadline")
    try:
        replica.await_streaming()
        with setting(postgres_server, "synchronous_standby_names", "*"):
            await_value(postgres_server, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", "1")
            receiver = int(replica.psql("SELECT pid FROM pg_stat_wal_receiver"))
            store = datastore_of(postgres_server, timeout=3)
            os.kill(receiver, signal.SIGSTOP)
            try:
                with pytest.raises(DatastoreRefused, match=r"late is not created: .* 3 s .*SyncRep.*removed again"):
                    store.create_database("late", {})
                with pytest.raises(DatastoreRefused, match="waited for IPC:SyncRep"):
                    store.create_user("late", "correct-horse", [], "readonly")
            finally:
                os.kill(receiver, signal.SIGCONT)
            patient = datastore_of(postgres_server)
            assert patient.create_database("confirmed", {})["owner"] == "postgres"
            assert "unconfirmed" not in patient.delete_database("confirmed", force=False)
        assert (query(postgres_server, DATABASES), query(postgres_server, ROLES)) == ("0", "0")
    finally:
        replica.close()
        query(postgres_server, "SELECT pg_drop_replication_slot('deadline')")


def test_a_statement_that_waits_for_a_lock_is_cancelled_and_names_the_holder(postgres_server: PostgresServer) -> None:
    store = datastore_of(postgres_server, timeout=1)
    with psycopg.connect(postgres_server.dsn(), autocommit=True, application_name="holder") as other:
        other.execute("SELECT pg_advisory_lock(%s)", (CHANGES,))
        holder = rf"Lock:advisory held by process {other.info.backend_pid} \(holder, user postgres\)"
        with pytest.raises(DatastoreRefused, match=rf"took longer than 1 s \(datastore\.timeout\).*{holder}"):
            store.create_database("late", {})
    assert query(postgres_server, DATABASES) == "0"


@pytest.mark.parametrize("ends", [True, False])
def test_server_that_ignores_a_cancel_is_queried_again(
    ends: bool, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that creates the database is suspended: the result is reported once it is known."""
    monkeypatch.setattr(deadline, "HANG", 0.5)
    query(postgres_server, "CREATE DATABASE origin")
    store = datastore_of(postgres_server, timeout=1)
    message: list[DatastoreError] = []

    def create() -> None:
        try:
            store.create_database("late", {"template": "origin"})
        except DatastoreError as error:
            message.append(error)

    # The server waits some seconds while another session uses the template: time enough to suspend the process.
    with psycopg.connect(postgres_server.dsn(database="origin")):
        thread = threading.Thread(target=create)
        thread.start()
        found = await_that(lambda: query(postgres_server, BACKEND.format("^CREATE DATABASE")), 10, "it is created")
        os.kill(int(found), signal.SIGSTOP)
        if ends:
            ending = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"
            await_that(lambda: query(postgres_server, ending) == "1", 20, "the second look waits")
            os.kill(int(found), signal.SIGCONT)
        thread.join(30)
        if not ends:
            os.kill(int(found), signal.SIGCONT)
    [error] = message
    assert isinstance(error, DatastoreRefused if ends else OutcomeUnknown), error
    assert ("it did not take effect" if ends else "it is unknown whether it took effect") in str(error)
    await_that(lambda: not Path(f"/proc/{found}").exists(), 10, "its process has ended")
    assert query(postgres_server, DATABASES) == "0"
    query(postgres_server, "DROP DATABASE origin")


def test_users_created_concurrently_are_all_created(postgres_server: PostgresServer) -> None:
    """Without the agents' lock each would fail with "tuple concurrently updated" on the row of the database."""
    query(postgres_server, "CREATE DATABASE busy")
    stores = [datastore_of(postgres_server) for _ in range(4)]
    over = threading.Event()

    def disturb() -> None:
        with psycopg.connect(postgres_server.dsn(database="busy"), autocommit=True) as other:
            while not over.is_set():
                with suppress(psycopg.errors.InternalError):  # it fails in the same way
                    other.execute("GRANT CONNECT ON DATABASE busy TO pg_monitor")
                    other.execute("REVOKE CONNECT ON DATABASE busy FROM pg_monitor")

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        names = [f"user{number}" for number in range(12)]
        made = [threading.Thread(target=create_each, args=(store, names[at::4])) for at, store in enumerate(stores)]
        for thread in made:
            thread.start()
        for thread in made:
            thread.join(60)
    finally:
        over.set()
        disturbing.join()
    assert [name for name in names if not stores[0].user_exists(name)] == []
    for name in names:
        stores[0].delete_user(name)
    stores[0].delete_database("busy", force=True)


def create_each(store: object, names: list[str]) -> None:
    for name in names:
        store.create_user(name, "correct-horse", ["busy"], "readonly")  # type: ignore[attr-defined]


def test_lasting_conflict_is_reported_after_a_few_attempts() -> None:
    attempts = []

    def change() -> None:
        attempts.append(1)
        raise Conflict("tuple concurrently updated")

    with pytest.raises(Conflict):
        repeated(change)
    assert len(attempts) == ATTEMPTS


def test_hint_of_the_server_is_in_the_message(postgres_server: PostgresServer) -> None:
    with pytest.raises(DatastoreRefused, match=r"encoding.*: Hint: Use the same encoding as in the template database"):
        datastore_of(postgres_server).create_database("x", {"encoding": "LATIN1", "template": "template1"})
