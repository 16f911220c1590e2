"""Real Redis servers change roles: promoted, disabled, and rebuilt from another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import Datastore, DatastoreError, DatastoreRefused, Role
from agent.datastores.replication_requests import PromoteRequest
from agent.errors import ConfigError
from agent.util.stop import Stop
from tests.datastores.redis_nodes import KEPT, in_step, resync, store_of
from tests.datastores.test_redis import at
from tests.servers.process import await_that
from tests.servers.redis import RedisServer

# The privileges in docs/redis.rst.
PROBE = ["+multi", "+exec", "+set", "+del", "~agent:probe:*"]
AGENT = [
    "+info", "+role", "+shutdown", "+acl|users", "+acl|whoami", "+acl|setuser", "+acl|deluser",
    "+config|get", "+config|set", "+config|rewrite", "+replicaof",
    *PROBE,
]  # fmt: skip
UNSEEN = ["", "+shutdown", "+role"]
"""Privileges without which these tests pass: a short resync does not check the link."""
REPLICATION = ["+psync", "+replconf", "+info"]


@pytest.fixture
def replica(redis_server: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "replica", replica_of=redis_server) as server:
        server.await_replica()
        yield server


def test_role_of_each_server_is_reported(redis_server: RedisServer, replica: RedisServer) -> None:
    address = f"127.0.0.1:{redis_server.port}"
    assert store_of(redis_server).role() == Role("primary", writable=True)
    assert store_of(replica).role() == Role("replica", address, streaming=True)
    redis_server.kill()
    await_that(lambda: not store_of(replica).role().streaming, 5)
    assert store_of(replica).role() == Role("replica", address)
    replica.cli("config", "set", "replica-read-only", "no")
    assert store_of(replica).role() == Role("replica", address, writable=True)
    redis_server.start()
    replica.stop()
    assert await_that(lambda: store_of(redis_server).role().name == "primary", 5)


def test_plan_of_disable_replication_warns_about_the_primary(redis_server: RedisServer, replica: RedisServer) -> None:
    in_step(redis_server, replica)
    plan = store_of(replica).plan_disable_replication()
    assert ["then accepts writes" in each for each in plan.warnings] == [True]
    redis_server.cli("config", "set", "min-replicas-to-write", "1")
    warned = store_of(replica).plan_disable_replication().warnings[-1]
    assert "would refuse writes: min-replicas-to-write is 1 there, and 0 replicas remain" in warned
    assert redis_server.cli("set", "k", "1") == "OK"
    store_of(replica).disable_replication(Stop())
    await_that(lambda: "connected_slaves:0" in redis_server.cli("info", "replication"))
    with pytest.raises(RuntimeError, match="NOREPLICAS"):
        redis_server.cli("set", "k", "2")
    redis_server.cli("config", "set", "min-replicas-to-write", "0")


def test_a_disabled_replica_has_no_source_and_is_writable(redis_server: RedisServer, replica: RedisServer) -> None:
    in_step(redis_server, replica)
    store, followed = store_of(replica), f"127.0.0.1:{redis_server.port}"
    assert store.disable_replication(Stop()) == {"followed": followed, "was_in_sync": True, **KEPT}
    assert store.role() == Role("primary", writable=True)
    assert replica.cli("set", "k", "2") == "OK"
    replica.stop()
    replica.start()
    assert store.role() == Role("primary", writable=True) and replica.cli("get", "k") == "2"


def test_change_that_cannot_be_persisted_is_reported(replica: RedisServer) -> None:
    replica.config.unlink()
    replica.config.mkdir()
    message: Any = store_of(replica).disable_replication(Stop())
    assert message["kept_in"] is None and "a restart of Redis loses this change" in message["note"]
    assert store_of(replica).role().writable


@pytest.fixture(scope="module")
def pair(module_dir: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer(module_dir / "a", appendonly=False) as one, RedisServer(module_dir / "b", appendonly=False) as two:
        yield one, two


@pytest.mark.parametrize("without", ["", *AGENT, *REPLICATION])
def test_documented_privileges_are_sufficient_and_necessary(
    without: str, pair: tuple[RedisServer, RedisServer], module_dir: Path
) -> None:
    primary, here = pair
    words = [word for word in AGENT if word != without]
    here.cli("acl", "setuser", "agent", "reset", "on", ">pw", *words)
    words = [word for word in REPLICATION if word != without]
    primary.cli("acl", "setuser", "repl", "reset", "on", ">pw", *words)
    (module_dir / "pw").write_text("pw")
    secrets = {"password_file": str(module_dir / "pw"), "primary_password_file": str(module_dir / "pw")}
    options = {"primary": f"redis://repl@127.0.0.1:{primary.port}", "timeout": 1}
    store = at(f"unix://agent@{here.socket}", **secrets, **options)
    try:
        held_by = everything(store)
        assert without in (UNSEEN if held_by is None else PROBE), held_by
    except DatastoreError as error:
        assert without and ("no permissions" in str(error) or "sends Redis" in str(error))
    here.cli("replicaof", "no", "one")
    here.cli("flushall")
    here.cli("acl", "deluser", "app")
    if without in ("", "+shutdown"):
        shut_down(store, here, refused=bool(without))


def everything(store: Datastore) -> object:
    assert store.is_up() and not store.user_exists("app")
    store.create_user("app", "horse", ["app"], "owner")
    store.delete_user("app")
    store.keep_users()
    resync(store)
    assert not store.is_dirty() and store.role().streaming
    message: Any = store.promote(Stop(), PromoteRequest(force=True))
    return message["held_by"]


def shut_down(store: Datastore, server: RedisServer, *, refused: bool) -> None:
    if refused:
        with pytest.raises(DatastoreRefused, match="no permissions"):
            store.shut_down(5, Stop())
    else:
        store.shut_down(5, Stop())
        await_that(lambda: server.pid is None)
        server.start()


@pytest.mark.parametrize("primary", ["10.0.0.2:6379", "unix:///x", "redis://:horse@[::1"])
def test_invalid_primary_url_stops_the_start(primary: str) -> None:
    with pytest.raises(ConfigError, match=r"datastore\.primary: ") as raised:
        at("redis://127.0.0.1", primary=primary)
    assert "horse" not in str(raised.value)
