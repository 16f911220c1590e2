"""Users of a real Redis have exactly the keys and commands that they were given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agent.datastores.base import DatastoreRefused, UserChanges
from agent.plan import Would
from tests.datastores.test_redis import at
from tests.servers.process import await_that, program, start_process
from tests.servers.redis import RedisServer

READ = ["GET app:k", "MGET app:k app:l", "HSCAN app:h 0", "PING", "MULTI", "TTL app:k"]
WRITE = ["SET app:k v", "DEL app:k", "COPY app:k app:l", "EXPIRE app:k 9"]
OWN = ["EVAL return(redis.call('get',KEYS[1])) 1 app:k", "PUBLISH app:news v", "SCRIPT LOAD return(1)"]
OTHERS = [
    "GET other:k", "GET app", "GET application:k", "SET other:k v", "COPY app:k other:k", "MGET app:k other:k",
    "EVAL return(redis.call('get','other:k')) 0", "PUBLISH other:news v", "PUBSUB CHANNELS", "SCAN 0", "KEYS *",
    "RANDOMKEY", "DBSIZE", "CLIENT TRACKING ON BCAST", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "FUNCTION FLUSH",
    "SCRIPT FLUSH", "SORT app:k BY other:*", "CONFIG GET *", "ACL LIST", "ACL SETUSER u ~*", "INFO", "MONITOR",
    "SHUTDOWN", "REPLICAOF NO ONE", "CLIENT LIST", "SLOWLOG GET", "SAVE", "MODULE LIST",
]  # fmt: skip
NAMES = ["o'brien", 'a"b', "%s;--", "ü-名前-🐎", "a\\b", "*", "[a-z]*?", "#1", "--", "u:v@w/x", "~*", ">pw"]


@pytest.fixture(scope="module")
def server(module_dir: Path) -> Iterator[RedisServer]:
    """A Redis that keeps its users in an aclfile."""
    with with_acl_file(module_dir / "redis") as server:
        yield server


def with_acl_file(directory: Path) -> RedisServer:
    server = RedisServer(directory, appendonly=False)
    (directory / "users.acl").touch()
    server.config.write_text(f'{server.config.read_text()}aclfile "{directory}/users.acl"\n')
    return server


def reply(server: RedisServer, command: str, name: str = "app", password: str = "horse") -> str:
    """The answer of Redis to a command of the user; errors as text."""
    with redis.Redis(
        unix_socket_path=str(server.socket),
        username=name,
        password=password,
        protocol=2,
        retry=Retry(NoBackoff(), 0),  # the driver tries a refused login again, for seconds
    ) as client:
        try:
            return repr(client.execute_command(*command.split(" ")))
        except redis.ResponseError as error:
            return str(error)


def may(server: RedisServer, command: str, **who: Any) -> bool:
    answer = reply(server, command, **who).lower()
    return not any(refusal in answer for refusal in ("no permissions", "can't access"))


@pytest.fixture(params=["readonly", "readwrite", "owner"])
def user(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[str]:
    store = at(f"unix://{server.socket}")
    assert store.create_user("app", "horse", ["app", "cache"], request.param) == {
        "keys": ["app:*", "cache:*"],
        "kept_in": "the aclfile",
    }
    yield request.param
    store.delete_user("app")


def test_user_has_exactly_its_privileges(user: str, server: RedisServer) -> None:
    allowed = {"readonly": READ, "readwrite": READ + WRITE, "owner": READ + WRITE + OWN}[user]
    may_now = [command for command in READ + WRITE + OWN + OTHERS if may(server, command)]
    assert may_now == allowed
    assert may(server, "GET cache:k")


def test_a_user_without_databases_has_no_keys(server: RedisServer) -> None:
    store = at(f"unix://{server.socket}")
    store.create_user("app", "horse", [], "owner")
    assert reply(server, "PING") == "True" and not may(server, "GET k") and not may(server, "GET :k")
    store.delete_user("app")


def test_names_and_prefixes_are_used_literally(server: RedisServer) -> None:
    store = at(f"unix://{server.socket}")
    for name in NAMES:
        store.create_user(name, "horse", [name], "readwrite")
        assert reply(server, f"SET {name}:k v", name=name) == "True"
        others = [key for key in ("aa:k", "b:k", ":k", f"{name}k") if may(server, f"GET {key}", name=name)]
        assert others == [], name
    server.stop()
    server.start()
    assert [name for name in NAMES if reply(server, f"EXISTS {name}:k", name=name) != "0"] == [], "after a restart"
    for name in NAMES:
        store.delete_user(name)
    assert server.cli("acl", "users") == "default"


@pytest.mark.parametrize("name", ["a b", "a\nb", "a\0b", "\t"])
def test_names_with_spaces_are_refused(name: str, server: RedisServer) -> None:
    store, before = at(f"unix://{server.socket}"), server.cli("acl", "list")
    for user, prefixes in ((name, ["p"]), ("u", [name])):
        with pytest.raises(DatastoreRefused, match="no spaces in the name and the key prefixes"):
            store.create_user(user, "horse", prefixes, "readonly")
    assert server.cli("acl", "list") == before


def test_text_with_lone_surrogates_is_refused(server: RedisServer) -> None:
    for name, password in (("\ud800", "horse"), ("app", "horse\ud800")):
        with pytest.raises(DatastoreRefused, match="an unpaired surrogate") as raised:
            at(f"unix://{server.socket}").create_user(name, password, [], "owner")
        assert "horse" not in str(raised.value)


def test_the_password_is_never_sent(server: RedisServer) -> None:
    server.cli("config", "set", "slowlog-log-slower-than", "0")
    at(f"unix://{server.socket}").create_user("app", "geheimes-wort", ["app"], "owner")
    server.cli("config", "set", "slowlog-log-slower-than", "-1")
    assert "setuser" in server.cli("slowlog", "get").lower()
    assert "geheimes-wort" not in server.cli("slowlog", "get") + server.cli("acl", "log") + server.log.read_text()
    assert "geheimes-wort" not in (server.dir / "users.acl").read_text()
    assert reply(server, "SET app:k v", password="geheimes-wort") == "True"
    at(f"unix://{server.socket}").delete_user("app")


def test_deleting_a_user_ends_its_connections_and_keeps_its_keys(server: RedisServer) -> None:
    store = at(f"unix://{server.socket}")
    store.create_user("app", "horse", ["app"], "readwrite")
    with redis.Redis(unix_socket_path=str(server.socket), username="app", password="horse", protocol=2) as client:
        pubsub = client.connection_pool.get_connection()
        pubsub.send_command("SET", "app:kept", "1")
        assert pubsub.read_response() == b"OK"
        assert store.delete_user("app") == {"kept_in": "the aclfile"}
        with pytest.raises(redis.ConnectionError):
            pubsub.read_response()
    with pytest.raises(redis.AuthenticationError):
        reply(server, "PING")
    assert server.cli("get", "app:kept") == "1"


def test_default_user_and_the_agents_user_are_not_deleted(server: RedisServer) -> None:
    with pytest.raises(DatastoreRefused, match="belongs to Redis"):
        at(f"unix://{server.socket}").delete_user("default")
    server.cli("acl", "setuser", "agent", "on", ">pw", "~*", "+@all")
    with pytest.raises(DatastoreRefused, match="the agent's own"):
        at(f"unix://agent:pw@{server.socket}").delete_user("agent")
    with pytest.raises(DatastoreRefused, match="there is no user nobody"):
        at(f"unix://{server.socket}").delete_user("nobody")
    server.cli("acl", "deluser", "agent")


def test_creation_of_an_existing_user_is_refused(server: RedisServer) -> None:
    before = server.cli("acl", "list")
    with pytest.raises(DatastoreRefused, match="the user default exists already"):
        at(f"unix://{server.socket}").create_user("default", "horse", ["app"], "owner")
    assert server.cli("acl", "list") == before


def test_users_are_kept_in_the_configuration_file_without_an_aclfile(redis_server: RedisServer) -> None:
    store = at(f"unix://{redis_server.socket}")
    assert store.create_user("app", "horse", ["a*\\b"], "readwrite")["kept_in"] == "the configuration file"
    for name, prefix in (('a"b', "p"), ("p", "o'brien")):
        with pytest.raises(DatastoreRefused, match="in an aclfile alone"):
            store.create_user(name, "horse", [prefix], "readwrite")
    redis_server.stop()
    redis_server.start()
    assert reply(redis_server, r"SET a*\b:k v") == "True" and not may(redis_server, r"GET ax\b:k")
    store.delete_user("app")
    redis_server.stop()
    redis_server.start()
    assert not store.user_exists("app")


def test_user_that_cannot_be_persisted_is_removed(server_dir: Path) -> None:
    with with_acl_file(server_dir / "redis") as server:
        store = at(f"unix://{server.socket}")
        store.create_user("app", "horse", ["app"], "readonly")
        (server.dir / "users.acl").unlink()
        (server.dir / "users.acl").mkdir()
        with pytest.raises(DatastoreRefused, match="refuses: "):
            store.create_user("second", "horse", ["app"], "readonly")
        with pytest.raises(DatastoreRefused, match="refuses: "):
            store.delete_user("app")
        assert server.cli("acl", "users").split() == ["app", "default"]


def test_redis_without_any_file_reports_that_a_restart_loses_the_user(server_dir: Path) -> None:
    with redis_without_files(server_dir) as socket:
        created = at(f"unix://{socket}").create_user("app", "horse", ["app"], "readonly")
    assert created == {
        "keys": ["app:*"],
        "kept_in": None,
        "note": "Redis was started without a configuration file: a restart loses this change",
    }


@contextmanager
def redis_without_files(directory: Path) -> Iterator[Path]:
    socket = directory / "bare.sock"
    argv = [program("redis-server"), "--port", "0", "--unixsocket", str(socket), "--dir", str(directory), "--save", ""]
    process = start_process(argv, directory / "bare.log")
    try:
        await_that(at(f"unix://{socket}").is_up)
        yield socket
    finally:
        process.kill()
        process.wait()


@contextmanager
def a_user(server: RedisServer, privileges: str = "readwrite") -> Iterator[Any]:
    """The datastore of a server with a user `app`, whose password is `first-horse`."""
    store = at(f"unix://{server.socket}")
    store.create_user("app", "first-horse", ["app", "cache"], privileges)
    try:
        yield store
    finally:
        store.delete_user("app")


def logs_in(server: RedisServer, password: str) -> bool:
    try:
        return reply(server, "PING", password=password) == "True"
    except redis.AuthenticationError:
        return False


def test_a_password_is_rotated_with_the_old_one_valid_until_the_next_change(server: RedisServer) -> None:
    with a_user(server) as store:
        rotate = UserChanges(password="second-horse", keep_old_password=True)
        assert store.plan_update_user("app", rotate).would is Would.CHANGE
        assert store.update_user("app", rotate) == {
            "changed": ["password"],
            "keys": ["app:*", "cache:*"],
            "passwords": 2,
            "locked": False,
            "connections_ended": 0,
            "kept_in": "the aclfile",
        }
        assert logs_in(server, "first-horse") and logs_in(server, "second-horse")
        assert store.plan_update_user("app", rotate).would is Would.NOTHING
        store.update_user("app", UserChanges(password="third-horse", keep_old_password=True))
        assert [logs_in(server, each) for each in ("first-horse", "second-horse", "third-horse")] == [False, True, True]
        store.update_user("app", UserChanges(password="third-horse"))
        assert [logs_in(server, each) for each in ("second-horse", "third-horse")] == [False, True]
        assert store.plan_update_user("app", UserChanges(password="third-horse")).would is Would.NOTHING
        assert "horse" not in server.cli("acl", "list") + (server.dir / "users.acl").read_text()


@pytest.mark.parametrize("now", ["readonly", "readwrite", "owner"])
@pytest.mark.parametrize("then", ["readonly", "readwrite", "owner"])
def test_change_of_privileges_gives_the_same_user_as_a_creation(now: str, then: str, server: RedisServer) -> None:
    with a_user(server, then):
        wanted = [command for command in READ + WRITE + OWN + OTHERS if may(server, command, password="first-horse")]
    with a_user(server, now) as store:
        changes = UserChanges(privileges=then)
        assert store.plan_update_user("app", changes).would is Would.CHANGE
        store.update_user("app", changes)
        found = [command for command in READ + WRITE + OWN + OTHERS if may(server, command, password="first-horse")]
        assert found == wanted and may(server, "GET cache:k", password="first-horse")


def test_databases_of_a_user_are_added_and_removed(server: RedisServer) -> None:
    with a_user(server, "owner") as store:
        store.update_user("app", UserChanges(databases=["app", "n*w"]))
        allowed = [
            each for each in ("app", "cache", "n*w", "new") if may(server, f"GET {each}:k", password="first-horse")
        ]
        assert allowed == ["app", "n*w"]
        assert may(server, "PUBLISH n*w:k 1", password="first-horse")
        assert not may(server, "PUBLISH cache:k 1", password="first-horse")
        store.update_user("app", UserChanges(databases=[]))
        assert not may(server, "GET app:k", password="first-horse")


def test_locked_user_loses_its_connections_until_unlocked(server: RedisServer) -> None:
    with (
        a_user(server) as store,
        redis.Redis(unix_socket_path=str(server.socket), username="app", password="first-horse", protocol=2) as client,
    ):
        pubsub = client.connection_pool.get_connection()
        pubsub.send_command("PING")
        pubsub.read_response()
        assert store.update_user("app", UserChanges(locked=True))["connections_ended"] == 1
        with pytest.raises(redis.ConnectionError):
            pubsub.read_response()
        assert not logs_in(server, "first-horse")
        assert store.plan_update_user("app", UserChanges(locked=True)).would is Would.NOTHING
        store.update_user("app", UserChanges(locked=False))
        assert logs_in(server, "first-horse")


def test_default_and_missing_user_cannot_be_changed(server: RedisServer) -> None:
    store = at(f"unix://{server.socket}")
    for name, words in (("default", "belongs to Redis"), ("nobody", "there is no user nobody")):
        plan = store.plan_update_user(name, UserChanges(locked=True))
        assert plan.refusal is not None and words in plan.refusal.reason
        with pytest.raises(DatastoreRefused, match=words):
            store.update_user(name, UserChanges(locked=True))


def test_change_that_cannot_be_persisted_is_undone(server_dir: Path) -> None:
    with with_acl_file(server_dir / "redis") as server:
        store = at(f"unix://{server.socket}")
        store.create_user("app", "first-horse", ["app"], "readonly")
        (server.dir / "users.acl").unlink()
        (server.dir / "users.acl").mkdir()
        before = sorted(server.cli("acl", "list").split())
        with pytest.raises(DatastoreRefused, match="refuses: "):
            store.update_user("app", UserChanges(password="second-horse", databases=["x"], privileges="owner"))
        assert sorted(server.cli("acl", "list").split()) == before and logs_in(server, "first-horse")
