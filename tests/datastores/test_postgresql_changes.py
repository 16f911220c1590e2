"""Changes of databases and users of a real PostgreSQL, and plans that agree with the actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from agent.datastores.base import Datastore, DatastoreRefused, UserChanges
from agent.plan import Would
from tests.datastores.postgresql_nodes import datastore_of, query, session
from tests.datastores.test_postgresql_users import PASSWORD, can
from tests.servers.postgresql import PostgresServer

OTHER = "another-horse-battery"


@pytest.fixture
def store(postgres_server: PostgresServer) -> Iterator[Datastore]:
    """The driver, with the databases `app` and `second` that have a table each; they and the users go with the test."""
    store = datastore_of(postgres_server)
    for name in ("app", "second"):
        store.create_database(name, {})
        query(postgres_server, "CREATE TABLE t AS SELECT 1 AS x; CREATE SEQUENCE s", name)
    yield store
    for name in ("app", "second"):
        if store.database_exists(name):
            store.delete_database(name, force=True)
    for name in ("u", "boss", "heir"):
        if store.user_exists(name):
            store.delete_user(name)


def logs_in(server: PostgresServer, user: str, password: str) -> bool:
    try:
        with session(server, user, password, "postgres"):
            return True
    except psycopg.OperationalError:
        return False


def test_a_password_is_rotated_and_a_login_locked(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("u", PASSWORD, ["app"], "readonly")
    store.update_user("u", UserChanges(password=OTHER))
    assert logs_in(postgres_server, "u", OTHER) and not logs_in(postgres_server, "u", PASSWORD)
    store.update_user("u", UserChanges(password=PASSWORD))
    with session(postgres_server, "u", PASSWORD, "app") as client:
        plan = store.plan_update_user("u", UserChanges(locked=True))
        assert plan.would is Would.DISRUPT and plan.facts["connections"] == 1
        store.update_user("u", UserChanges(locked=True))
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    assert not logs_in(postgres_server, "u", PASSWORD)
    assert store.plan_update_user("u", UserChanges(locked=True)).would is Would.NOTHING
    store.update_user("u", UserChanges(locked=False))
    assert can(postgres_server, "u", "SELECT * FROM t")
    assert "correct-horse" not in postgres_server.log.read_text()


def test_two_passwords_at_once_are_refused(store: Datastore) -> None:
    store.create_user("u", PASSWORD, [], "readonly")
    changes = UserChanges(password=OTHER, keep_old_password=True)
    plan = store.plan_update_user("u", changes)
    assert plan.would is Would.REFUSE and "PostgreSQL stores one password for a role" in plan.summary
    with pytest.raises(DatastoreRefused, match="stores one password"):
        store.update_user("u", changes)


def test_databases_of_a_user_are_added_and_removed(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("u", PASSWORD, ["app"], "readwrite")
    changed: Any = store.update_user("u", UserChanges(databases=["app", "second"]))
    assert changed["databases"] == ["app", "second"]
    assert can(postgres_server, "u", "INSERT INTO t VALUES (2)", "second")
    query(postgres_server, "CREATE SCHEMA later; CREATE TABLE later.t (x int)", "second")
    assert can(postgres_server, "u", "SELECT * FROM later.t", "second")
    changed = store.update_user("u", UserChanges(databases=["second"]))
    assert changed["databases"] == ["second"] and changed["still_owns_in"] == []
    assert not can(postgres_server, "u", "SELECT * FROM t") and can(postgres_server, "u", "SELECT * FROM t", "second")
    query(postgres_server, "CREATE TABLE newer (x int)", "app")
    assert not can(postgres_server, "u", "SELECT * FROM newer")
    assert store.plan_update_user("u", UserChanges(databases=["second"])).would is Would.NOTHING


def test_privileges_are_changed_in_every_database(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("u", PASSWORD, ["app", "second"], "readwrite")
    query(postgres_server, "GRANT CREATE ON SCHEMA public TO u", "app")
    assert can(postgres_server, "u", "CREATE TABLE mine AS SELECT 1 AS x")
    store.update_user("u", UserChanges(privileges="readonly"))
    for database in ("app", "second"):
        assert can(postgres_server, "u", "SELECT * FROM t", database)
        assert not can(postgres_server, "u", "INSERT INTO t VALUES (3)", database)
    assert can(postgres_server, "u", "INSERT INTO mine VALUES (2)"), "it keeps what it owns"
    query(postgres_server, "CREATE TABLE newer (x int)", "app")
    assert not can(postgres_server, "u", "INSERT INTO newer VALUES (1)")
    store.update_user("u", UserChanges(privileges="owner", databases=["second"]))
    assert can(postgres_server, "u", "CREATE SCHEMA theirs", "second")
    with pytest.raises(DatastoreRefused, match="u owns database second: change its owner with database_update first"):
        store.update_user("u", UserChanges(privileges="readonly"))
    store.update_database("second", "postgres")
    store.update_user("u", UserChanges(privileges="readonly"))
    assert not can(postgres_server, "u", "INSERT INTO t VALUES (4)", "second")


def test_change_that_fails_in_one_database_is_rolled_back_in_all(
    store: Datastore, postgres_server: PostgresServer
) -> None:
    store.create_user("u", PASSWORD, ["app", "second"], "readwrite")
    grantor = "CREATE ROLE giver; GRANT SELECT ON t TO giver WITH GRANT OPTION; SET ROLE giver; GRANT SELECT ON t TO u"
    query(postgres_server, grantor, "second")
    with pytest.raises(DatastoreRefused, match=r"privileges of u on table public\.t were granted by another role"):
        store.update_user("u", UserChanges(privileges="readonly", password=OTHER))
    assert can(postgres_server, "u", "INSERT INTO t VALUES (2)")
    assert can(postgres_server, "u", "INSERT INTO t VALUES (2)", "second")
    query(postgres_server, "DROP OWNED BY giver CASCADE; DROP ROLE giver", "second")


def test_owner_of_a_database_is_changed(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("boss", PASSWORD, ["app"], "owner")
    store.create_user("u", PASSWORD, ["app"], "readonly")
    store.create_user("heir", PASSWORD, [], "readonly")
    changed: Any = store.update_database("app", "heir")
    assert (changed["owner"], changed["previous_owner"]) == ("heir", "boss")
    assert can(postgres_server, "heir", "CREATE SCHEMA new; CREATE TABLE new.t (x int)")
    assert can(postgres_server, "u", "SELECT * FROM new.t"), "what the others were given counts for the next owner too"
    assert store.plan_update_database("app", "heir").would is Would.NOTHING
    for name in ("postgres", "template0", "template1"):
        with pytest.raises(DatastoreRefused, match=f"{name} belongs to the server; its owner is not changed"):
            store.update_database(name, "heir")
        with pytest.raises(DatastoreRefused):
            store.create_user("other", PASSWORD, [name], "owner")
    with pytest.raises(DatastoreRefused, match='the role "no one" does not exist'):
        store.update_database("app", "no one")


def test_objects_of_a_deleted_user_are_reassigned(store: Datastore, postgres_server: PostgresServer) -> None:
    store.create_user("boss", PASSWORD, ["app"], "owner")
    store.create_user("heir", PASSWORD, [], "readonly")
    assert can(postgres_server, "boss", "CREATE TABLE mine AS SELECT 7 AS x")
    assert "owns database app" in store.plan_delete_user("boss", None).summary
    plan = store.plan_delete_user("boss", "heir")
    assert plan.would is Would.CHANGE and plan.facts["owns"] == ["database app"]
    deleted: Any = store.delete_user("boss", "heir")
    assert deleted["reassigned_to"] == "heir" and deleted["owned"] == ["database app"]
    assert can(postgres_server, "heir", "INSERT INTO mine VALUES (8)")
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'app'"
    assert query(postgres_server, owner) == "heir" and not store.user_exists("boss")
    for name in ("heir", "no one"):
        assert store.plan_delete_user("heir", name).would is Would.REFUSE
    store.delete_database("app", force=True)


def test_agent_without_superuser_changes_its_own_users_and_databases(postgres_server: PostgresServer) -> None:
    query(postgres_server, "CREATE ROLE small LOGIN CREATEDB CREATEROLE PASSWORD 'p'; GRANT pg_monitor TO small")
    store = datastore_of(postgres_server, url=f"postgresql://small:p@127.0.0.1:{postgres_server.port}/postgres")
    for name in ("one", "two"):
        store.create_database(name, {})
    store.create_user("u", PASSWORD, ["one"], "readwrite")
    store.create_user("boss", PASSWORD, ["two"], "owner")
    store.update_user("u", UserChanges(databases=["one", "two"], password=OTHER, privileges="readonly"))
    assert logs_in(postgres_server, "u", OTHER)
    store.update_user("u", UserChanges(databases=["two"], locked=True))
    store.update_database("one", "boss")
    store.delete_user("boss", "u")
    for name in ("one", "two"):
        store.delete_database(name, force=True)
    store.delete_user("u")
    assert store.status().unknown == {}


def test_refused_fact_is_named_and_other_facts_are_reported(postgres_server: PostgresServer) -> None:
    query(postgres_server, "CREATE ROLE blind LOGIN PASSWORD 'p'")
    query(postgres_server, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    store = datastore_of(postgres_server, url=f"postgresql://blind:p@127.0.0.1:{postgres_server.port}/postgres")
    status = store.status()
    query(postgres_server, "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
    assert list(status.unknown) == ["cluster_id"] and "permission denied" in status.unknown["cluster_id"]
    assert (status.reachable, status.role, status.cluster_id) == (True, "primary", None)
    assert status.version == query(postgres_server, "SHOW server_version").split()[0] and status.timeline == 1
    assert store.status().cluster_id == query(postgres_server, "SELECT system_identifier FROM pg_control_system()")


Act = Callable[[Datastore], Any]
Look = Callable[[Datastore], Any]

SCENARIOS: dict[str, tuple[Look, Act]] = {
    "create a database": (lambda s: s.plan_create_database("new", {}), lambda s: s.create_database("new", {})),
    "create one that exists": (lambda s: s.plan_create_database("app", {}), lambda s: s.create_database("app", {})),
    "create one of no template": (
        lambda s: s.plan_create_database("new", {"template": "none"}),
        lambda s: s.create_database("new", {"template": "none"}),
    ),
    "create one for no owner": (
        lambda s: s.plan_create_database("new", {"owner": "none"}),
        lambda s: s.create_database("new", {"owner": "none"}),
    ),
    "delete one in use": (
        lambda s: s.plan_delete_database("app", force=False),
        lambda s: s.delete_database("app", force=False),
    ),
    "delete one in use by force": (
        lambda s: s.plan_delete_database("app", force=True),
        lambda s: s.delete_database("app", force=True),
    ),
    "delete none": (
        lambda s: s.plan_delete_database("none", force=True),
        lambda s: s.delete_database("none", force=True),
    ),
    "create a user": (
        lambda s: s.plan_create_user("heir", ["app"], "readonly"),
        lambda s: s.create_user("heir", PASSWORD, ["app"], "readonly"),
    ),
    "create one who exists": (
        lambda s: s.plan_create_user("u", [], "readonly"),
        lambda s: s.create_user("u", PASSWORD, [], "readonly"),
    ),
    "create one for no database": (
        lambda s: s.plan_create_user("heir", ["none"], "readonly"),
        lambda s: s.create_user("heir", PASSWORD, ["none"], "readonly"),
    ),
    "create a second owner": (
        lambda s: s.plan_create_user("heir", ["second"], "owner"),
        lambda s: s.create_user("heir", PASSWORD, ["second"], "owner"),
    ),
    "change a user": (
        lambda s: s.plan_update_user("u", UserChanges(databases=["second"])),
        lambda s: s.update_user("u", UserChanges(databases=["second"])),
    ),
    "change none": (
        lambda s: s.plan_update_user("none", UserChanges(locked=True)),
        lambda s: s.update_user("none", UserChanges(locked=True)),
    ),
    "delete a user": (lambda s: s.plan_delete_user("u", None), lambda s: s.delete_user("u")),
    "delete an owner": (lambda s: s.plan_delete_user("boss", None), lambda s: s.delete_user("boss")),
    "delete an owner for another": (lambda s: s.plan_delete_user("boss", "u"), lambda s: s.delete_user("boss", "u")),
    "give to none": (lambda s: s.plan_update_database("app", "none"), lambda s: s.update_database("app", "none")),
    "give a database": (lambda s: s.plan_update_database("app", "u"), lambda s: s.update_database("app", "u")),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_plan_agrees_with_the_action(scenario: str, store: Datastore, postgres_server: PostgresServer) -> None:
    look, act = SCENARIOS[scenario]
    store.create_user("u", PASSWORD, ["app"], "readwrite")
    store.create_user("boss", PASSWORD, ["second"], "owner")
    with psycopg.connect(postgres_server.dsn(database="app")):
        before = state_of(postgres_server)
        plan = look(store)
        assert state_of(postgres_server) == before, "a plan changes nothing"
        if plan.would is Would.REFUSE:
            with pytest.raises(DatastoreRefused) as raised:
                act(store)
            assert str(raised.value) == plan.refusal.reason
        else:
            act(store)
        assert (state_of(postgres_server) != before) is (plan.would not in (Would.REFUSE, Would.NOTHING))
    if store.database_exists("new"):
        store.delete_database("new", force=True)
    if store.user_exists("boss"):
        store.delete_user("boss", "postgres")
    if store.user_exists("u"):
        store.delete_user("u", "postgres")


def state_of(server: PostgresServer) -> str:
    """All roles, databases and their rights."""
    roles = query(server, "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid ORDER BY 1")
    databases = query(server, "SELECT datname, pg_get_userbyid(datdba), datacl FROM pg_database ORDER BY 1")
    members = query(server, "SELECT count(*) FROM pg_auth_members")
    return "\n".join([roles, databases, members])
