"""Databases and users on a server of MongoDB's protocol that enforces them: the tests log in and try."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import OperationFailure

from agent import config, datastores
from agent.datastores.base import Datastore, DatastoreDown, DatastoreRefused, DatastoreUnreachable, Role
from agent.errors import ConfigError
from agent.util.stop import Stop
from tests.servers.mongodb import MongoServer
from tests.servers.process import free_port

ADMIN = "correct-horse"
NAMES = ["ü-名前-🐎", "o'brien", "a%s;--", "x(y)[z]", "a" * 63]
USER_NAMES = [*NAMES, 'a"b', "with space", "a@b:c/d", "a.b$c"]
Client = pymongo.MongoClient[dict[str, Any]]


@pytest.fixture(scope="module")
def server(module_dir: Path) -> Iterator[MongoServer]:
    with MongoServer(module_dir / "mongodb", password=ADMIN) as server:
        (server.dir / "password").write_text(f"{ADMIN}\n")
        yield server


@pytest.fixture
def store(server: MongoServer) -> Iterator[Datastore]:
    store = at(f"mongodb://admin@127.0.0.1:{server.port}/", password_file=str(server.dir / "password"))
    yield store
    if store.user_exists("app"):
        assert store.delete_user("app") == {"authSource": "admin"}


def at(url: str, **options: Any) -> Datastore:
    parsed = config.parse({"datastore": {"kind": "mongodb", "url": url, "timeout": 5} | options})
    assert parsed.datastore
    return datastores.of(parsed.datastore)


@contextmanager
def client_of(server: MongoServer, name: str, password: str = "horse") -> Iterator[Client]:
    address = f"127.0.0.1:{server.port}"
    with Client(address, username=name, password=password, authSource="admin", directConnection=True) as client:
        yield client


def may(act: Callable[[], object]) -> bool:
    try:
        act()
    except OperationFailure as error:
        assert error.code == 13, error  # Unauthorized
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_database_is_created_and_deleted(name: str, store: Datastore, server: MongoServer) -> None:
    assert not store.database_exists(name)
    assert store.create_database(name, {}) == {"collection": "_created"}
    assert store.database_exists(name) and not store.database_exists("other")
    server.command("insert", "things", db=name, documents=[{"x": 1}])
    store.delete_database(name, force=True)
    assert not store.database_exists(name)


@pytest.mark.parametrize("name", ["a b", "a/b", "a$b", "a\0b", 'a"b', "", "\ud800"])
def test_database_name_that_mongodb_does_not_allow_is_refused(name: str, store: Datastore) -> None:
    with pytest.raises(DatastoreRefused, match=r"the request is invalid|refuses"):
        store.create_database(name, {})


def test_system_databases_are_recognized(store: Datastore) -> None:
    assert [name for name in ("admin", "config", "local", "app") if store.is_system_database(name)] == [
        "admin",
        "config",
        "local",
    ]


@pytest.mark.parametrize(
    "privileges, writes, administers", [("readonly", False, False), ("readwrite", True, False), ("owner", True, True)]
)
def test_user_has_exactly_its_privileges(
    privileges: str, writes: bool, administers: bool, store: Datastore, server: MongoServer
) -> None:
    created: Any = store.create_user("app", "horse", ["app", "second"], privileges)
    assert created["authSource"] == "admin" and [role.partition("@")[2] for role in created["roles"]] == [
        "app",
        "second",
    ]
    with client_of(server, "app") as client:
        for database in (client.app, client.second):
            assert may(database.things.find_one)
            assert may(lambda: database.things.insert_one({"x": 1})) is writes  # noqa: B023
            assert may(lambda: database.command("createUser", "sub", pwd="x", roles=["read"])) is administers  # noqa: B023
        for act in (
            client.other.things.find_one,
            lambda: client.other.things.insert_one({}),
            lambda: client.admin.command("createUser", "evil", pwd="x", roles=["root"]),
            lambda: client.admin.command("usersInfo"),
            lambda: client.drop_database("other"),
        ):
            assert not may(act)


def test_user_without_databases_can_only_log_in(store: Datastore, server: MongoServer) -> None:
    store.create_user("app", "horse", [], "owner")
    with client_of(server, "app") as client:
        assert client.admin.command("ping")["ok"] and not may(client.app.things.find_one)
    store.delete_user("app")
    with pytest.raises(OperationFailure, match=r"[Aa]uthentication failed"), client_of(server, "app") as client:
        client.admin.command("ping")


@pytest.mark.parametrize("name", USER_NAMES)
def test_any_user_name_is_accepted(name: str, store: Datastore, server: MongoServer) -> None:
    store.create_user(name, "horse", ["app"], "readwrite")
    assert store.user_exists(name)
    with client_of(server, name) as client:
        client.app.things.insert_one({"x": 1})
    store.delete_user(name)
    assert not store.user_exists(name)


def test_existing_missing_and_own_user_are_refused(store: Datastore) -> None:
    with pytest.raises(DatastoreRefused, match="already exists"):
        store.create_user("admin", "horse", ["app"], "owner")
    with pytest.raises(DatastoreRefused, match="the user admin is the agent's own"):
        store.delete_user("admin")
    with pytest.raises(DatastoreRefused, match=r"refuses: .*nobody"):
        store.delete_user("nobody")


def test_a_wrong_password_is_refused_and_not_shown(server: MongoServer) -> None:
    store = at(f"mongodb://admin:wrong-horse@127.0.0.1:{server.port}/?authSource=admin")
    assert store.is_up()
    with pytest.raises(DatastoreRefused, match=r"[Aa]uthentication failed") as raised:
        store.database_exists("app")
    assert "horse" not in str(raised.value) and f"mongodb://127.0.0.1:{server.port}" in str(raised.value)


def test_documented_roles_of_the_agent_are_sufficient(store: Datastore, server: MongoServer) -> None:
    roles = [{"role": role, "db": "admin"} for role in ("dbAdminAnyDatabase", "userAdminAnyDatabase", "clusterAdmin")]
    server.command("createUser", "agent", pwd=ADMIN, roles=roles)
    agent = at(f"mongodb://agent@127.0.0.1:{server.port}/", password_file=str(server.dir / "password"))
    agent.create_database("app", {})
    agent.create_user("u", "horse", ["app"], "owner")
    assert agent.user_exists("u") and agent.database_exists("app")
    agent.delete_user("u")
    agent.delete_database("app", force=False)
    store.delete_user("agent")


def test_stopped_mongodb_differs_from_a_hanging_one(server: MongoServer) -> None:
    nobody = at(f"mongodb://127.0.0.1:{free_port()}/")
    assert not nobody.is_up()
    with pytest.raises(DatastoreDown, match="nothing listens at mongodb://127"):
        nobody.shut_down(1, Stop())
    assert not at(f"mongodb://{str(server.dir / 'gone.sock').replace('/', '%2F')}/").is_up()
    pid = server.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatastoreUnreachable) as raised:
            at(f"mongodb://127.0.0.1:{server.port}/", timeout=0.5).is_up()
        assert not isinstance(raised.value, DatastoreDown)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_standalone_server_accepts_writes(store: Datastore) -> None:
    assert store.role() == Role("primary", writable=True)


@pytest.mark.parametrize("url", ["redis://:horse@h", "mongodb+srv://:horse@h", "mongodb://:horse@a:1,b:2/"])
def test_invalid_url_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match=r"datastore\.url: ") as raised:
        at(url)
    assert "horse" not in str(raised.value)
