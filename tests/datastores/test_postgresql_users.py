"""Users of a real PostgreSQL log in and have exactly the privileges that they were given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from agent.datastores.base import Datastore, DatastoreRefused
from agent.datastores.postgresql import users as postgresql_users
from tests.datastores.postgresql_nodes import datastore_of, query, session
from tests.servers.postgresql import PostgresServer

NAMES = ["plain", 'with "quotes"', "two words", "ünï ✓", "100%", "%s %(name)s", "a;-- DROP", "'", "{}", "Select"]
PASSWORD = "pass' \"word\\ %s ü"


@pytest.fixture
def store(postgres_server: PostgresServer) -> Iterator[Datastore]:
    """The driver, with a database `app` that has a table of each of two schemas; gone with the test."""
    store = datastore_of(postgres_server)
    store.create_database("app", {})
    query(
        postgres_server,
        "CREATE TABLE t AS SELECT 1 AS x; CREATE SEQUENCE s; CREATE SCHEMA other; CREATE TABLE other.t (x int)",
        "app",
    )
    yield store
    if store.database_exists("app"):
        store.delete_database("app", force=True)


def can(server: PostgresServer, user: str, statement: str, database: str = "app") -> bool:
    with session(server, user, PASSWORD, database) as client:
        try:
            client.execute(sql.SQL(statement))
        except InsufficientPrivilege:
            return False
    return True


READS = ["SELECT * FROM t", "SELECT * FROM other.t", "SELECT last_value FROM s"]
WRITES = [
    "INSERT INTO t VALUES (2)",
    "UPDATE other.t SET x = 3",
    "DELETE FROM other.t",
    "SELECT nextval('s')",
]
OWNS = ["CREATE SCHEMA mine", "CREATE TABLE public.mine (x int)", "CREATE TABLE other.mine (x int)"]
NEVER = ["CREATE ROLE x", "CREATE DATABASE x", "SELECT pg_read_file('PG_VERSION')", "ALTER TABLE t ADD y int"]
OTHERS = ["DROP TABLE t"]


@pytest.mark.parametrize(
    "privileges, allowed, denied",
    [
        ("readonly", READS, WRITES + OWNS + NEVER + OTHERS),
        ("readwrite", READS + WRITES, OWNS + NEVER + OTHERS),
        ("owner", READS + WRITES + OWNS, NEVER),
    ],
)
def test_user_has_exactly_its_privileges(
    privileges: str, allowed: list[str], denied: list[str], store: Datastore, postgres_server: PostgresServer
) -> None:
    store.create_database("theirs", {})
    query(postgres_server, "CREATE TABLE t (x int)", "theirs")
    created = store.create_user("u", PASSWORD, ["app", "app"], privileges)
    assert created["databases"] == ["app"] and "theirs" in created["public_lets_connect_to"]
    assert [statement for statement in allowed if not can(postgres_server, "u", statement)] == []
    assert [statement for statement in denied if can(postgres_server, "u", statement)] == []
    assert not can(postgres_server, "u", "SELECT * FROM t", "theirs")
    query(postgres_server, "CREATE SCHEMA later; CREATE TABLE later.t (x int); CREATE SEQUENCE later.s", "app")
    assert can(postgres_server, "u", "SELECT * FROM later.t")
    assert can(postgres_server, "u", "INSERT INTO later.t VALUES (1)") == (privileges != "readonly")
    store.delete_database("theirs", force=True)
    if privileges == "owner":
        store.delete_database("app", force=True)
    store.delete_user("u")


@pytest.mark.parametrize("owner_first", [True, False])
def test_later_objects_of_the_owner_are_readable(
    owner_first: bool, store: Datastore, postgres_server: PostgresServer
) -> None:
    users = [("boss", "owner"), ("reader", "readonly")]
    for name, privileges in users if owner_first else reversed(users):
        store.create_user(name, PASSWORD, ["app"], privileges)
    assert can(postgres_server, "boss", "CREATE SCHEMA new; CREATE TABLE new.t (x int); CREATE TABLE public.n (x int)")
    assert can(postgres_server, "reader", "SELECT * FROM new.t") and can(postgres_server, "reader", "SELECT * FROM n")
    assert not can(postgres_server, "reader", "INSERT INTO new.t VALUES (1)")
    store.delete_user("reader")
    store.delete_database("app", force=True)
    store.delete_user("boss")


@pytest.mark.parametrize("name", NAMES)
def test_user_with_any_name_is_created_and_deleted(
    name: str, store: Datastore, postgres_server: PostgresServer
) -> None:
    assert not store.user_exists(name)
    store.create_user(name, PASSWORD, ["app"], "readwrite")
    assert store.user_exists(name) and can(postgres_server, name, "INSERT INTO t VALUES (5)")
    with pytest.raises(DatastoreRefused, match="exists already"):
        store.create_user(name, PASSWORD, [], "readonly")
    store.delete_user(name)
    assert not store.user_exists(name)
    with pytest.raises(DatastoreRefused, match="there is no user"):
        store.delete_user(name)


def test_second_owner_of_a_database_is_refused(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("first", PASSWORD, ["app"], "owner")
    with pytest.raises(DatastoreRefused, match="the database app belongs to first already"):
        store.create_user("second", PASSWORD, ["app"], "owner")
    assert not store.user_exists("second") and roles(postgres_server, "second") == "0"
    with pytest.raises(DatastoreRefused, match="first owns database app: delete these or change their owner"):
        store.delete_user("first")
    assert can(postgres_server, "first", "SELECT 1")
    store.delete_database("app", force=True)
    store.delete_user("first")


def test_failed_creation_leaves_no_user(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_database("closed", {})
    query(postgres_server, "ALTER DATABASE closed ALLOW_CONNECTIONS false")
    with pytest.raises(DatastoreRefused, match="not currently accepting connections"):
        store.create_user("half", PASSWORD, ["app", "closed"], "readwrite")
    assert roles(postgres_server, "half") == "0"
    with pytest.raises(DatastoreRefused, match="there is no database nowhere"):
        store.create_user("half", PASSWORD, ["app", "nowhere"], "readwrite")
    store.delete_database("closed", force=True)


def test_unfinished_user_does_not_exist_and_is_replaced(
    store: Datastore, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(postgresql_users, "_finish", killed)
        with pytest.raises(KeyboardInterrupt):
            store.create_user("half", PASSWORD, ["app"], "readwrite")
    assert roles(postgres_server, "half") == "1" and not store.user_exists("half")
    with pytest.raises(psycopg.OperationalError), session(postgres_server, "half", PASSWORD, "app"):
        pass
    store.create_user("half", PASSWORD, ["app"], "readonly")
    assert can(postgres_server, "half", "SELECT * FROM t")
    assert not can(postgres_server, "half", "INSERT INTO t VALUES (1)"), "what it was given before is left"
    store.delete_user("half")


def test_objects_of_a_deleted_user_go_to_the_owner_of_the_database(
    store: Datastore, postgres_server: PostgresServer
) -> None:
    store.create_database("second", {})
    store.create_user("u", PASSWORD, ["app", "second"], "readwrite")
    for database in ("app", "second"):
        query(postgres_server, "GRANT CREATE ON SCHEMA public TO u", database)
        assert can(postgres_server, "u", "CREATE TABLE mine AS SELECT 9 AS x", database)
    with session(postgres_server, "u", PASSWORD, "app") as client:
        deleted: Any = store.delete_user("u")
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    assert sorted(deleted["reassigned_in"]) == ["app", "second"]
    for database in ("app", "second"):
        owner = "SELECT x, tableowner FROM mine, pg_tables WHERE tablename = 'mine'"
        assert query(postgres_server, owner, database) == "9|postgres"
    store.delete_database("second", force=True)


def test_user_that_cannot_be_deleted_is_unchanged(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("u", PASSWORD, ["app"], "readwrite")
    store.create_database("closed", {})
    query(postgres_server, "GRANT CREATE ON SCHEMA public TO u", "closed")
    assert can(postgres_server, "u", "CREATE TABLE kept (x int)", "closed")
    query(postgres_server, "ALTER DATABASE closed ALLOW_CONNECTIONS false")
    with pytest.raises(DatastoreRefused, match="closed accepts no connections: the objects and privileges of u"):
        store.delete_user("u")
    assert can(postgres_server, "u", "INSERT INTO t VALUES (8)")
    query(postgres_server, "ALTER DATABASE closed ALLOW_CONNECTIONS true")
    store.delete_user("u")
    store.delete_database("closed", force=True)
    with pytest.raises(DatastoreRefused, match="postgres owns database"):
        store.delete_user("postgres")


def test_password_never_reaches_the_server_in_plain_text(store: Datastore, postgres_server: PostgresServer) -> None:
    query(postgres_server, "ALTER SYSTEM SET log_statement = 'all'")
    query(postgres_server, "SELECT pg_reload_conf()")
    store.create_user("u", "correct-horse-battery", ["app"], "readwrite")
    query(postgres_server, "ALTER SYSTEM RESET log_statement")
    query(postgres_server, "SELECT pg_reload_conf()")
    log = postgres_server.log.read_text()
    assert "ALTER ROLE" in log and "correct-horse" not in log
    store.delete_user("u")


def test_agent_without_superuser_manages_users(postgres_server: PostgresServer) -> None:
    query(postgres_server, "CREATE ROLE hand LOGIN CREATEDB CREATEROLE PASSWORD 'p'; GRANT pg_monitor TO hand")
    url = f"postgresql://hand:p@127.0.0.1:{postgres_server.port}/postgres"
    store = datastore_of(postgres_server, url=url)
    store.create_user("reader", PASSWORD, [], "readonly")
    store.create_database("owned", {"owner": "reader"})
    store.create_database("app2", {})
    store.create_user("boss", PASSWORD, ["app2"], "owner")
    store.create_user("late", PASSWORD, ["app2"], "readonly")
    assert can(postgres_server, "boss", "CREATE TABLE t AS SELECT 1 AS x", "app2")
    assert can(postgres_server, "late", "SELECT * FROM t", "app2")
    assert store.role().name == "primary"
    store.delete_user("late")
    store.delete_database("app2", force=True)
    store.delete_database("owned", force=False)
    store.delete_user("boss")
    store.delete_user("reader")


def roles(server: PostgresServer, name: str) -> str:
    """The number of roles of this name, complete or unfinished."""
    return str(query(server, "SELECT rolname FROM pg_roles").splitlines().count(name))
