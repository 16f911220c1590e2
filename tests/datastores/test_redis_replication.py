"""Real Redis servers change their parts: promoted, set free, and rebuilt from another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import Datastore, DatastoreError, DatastoreRefused, DatastoreUnreachable, Role
from agent.errors import ConfigError
from agent.stop import Stop
from agent.supervisors.commands import Commands
from tests.datastores.reports import into
from tests.datastores.test_redis import at, in_background
from tests.servers.process import await_that
from tests.servers.redis import RedisServer

KEPT = {"kept_in": "the configuration file"}
# What docs/redis.rst asks for, and no more.
AGENT = [
    "+info", "+role", "+shutdown", "+acl|users", "+acl|whoami", "+acl|setuser", "+acl|deluser",
    "+config|get", "+config|set", "+config|rewrite", "+replicaof", "+multi", "+exec",
]  # fmt: skip
REPLICATION = ["+psync", "+info"]


@pytest.fixture
def replica(redis_server: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "replica", replica_of=redis_server) as server:
        server.await_replica()
        yield server


def store_of(server: RedisServer, primary: RedisServer | None = None, **options: Any) -> Datastore:
    named = {"primary": f"redis://127.0.0.1:{primary.port}"} if primary else {}
    return at(f"unix://{server.socket}", **named | options)


def resync(store: Datastore) -> tuple[Any, list[str]]:
    """What a resync returned and the phases that it told."""
    phases: list[str] = []
    return store.resync(None, into(phases)), phases


def diverge(replica: RedisServer) -> None:
    """Write to a replica what its primary does not have."""
    replica.cli("config", "set", "replica-read-only", "no")
    replica.cli("set", "diverged", "1")
    replica.cli("config", "set", "replica-read-only", "yes")


def slow_to_send(primary: RedisServer) -> None:
    """Let the primary take three seconds to send a full copy."""
    primary.cli("eval", "for i = 1, 30 do redis.call('set', i, i) end", "0")
    primary.cli("config", "set", "rdb-key-save-delay", "100000")  # microseconds


def test_each_tells_its_part(redis_server: RedisServer, replica: RedisServer) -> None:
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


@pytest.mark.parametrize("act", ["promote", "disable_replication"])
def test_a_replica_follows_nobody_any_more_and_is_writable(
    act: str, redis_server: RedisServer, replica: RedisServer
) -> None:
    redis_server.cli("set", "k", "1")
    redis_server.cli("wait", "1", "5000")
    store = store_of(replica)
    assert getattr(store, act)(Stop()) == {
        "followed": f"127.0.0.1:{redis_server.port}",
        "was_in_sync": True,
        **KEPT,
    }
    assert store.role() == Role("primary", writable=True)
    assert replica.cli("set", "k", "2") == "OK"
    replica.stop()
    replica.start()
    assert store.role() == Role("primary", writable=True) and replica.cli("get", "k") == "2"


def test_one_whose_copy_is_under_way_is_dirty_and_not_promoted(redis_server: RedisServer, replica: RedisServer) -> None:
    slow_to_send(redis_server)
    store = store_of(replica)
    assert not store.is_dirty()
    errors = in_background(lambda: resync(store))
    await_that(store.is_dirty, 5)
    with pytest.raises(DatastoreRefused, match="still copying its primary"):
        store.promote(Stop())
    store.disable_replication(Stop())
    assert not store.is_dirty()
    assert "was told meanwhile not to follow" in str(errors())
    await_that(lambda: "rdb_bgsave_in_progress:0" in redis_server.cli("info", "persistence"))


def test_what_cannot_be_kept_is_told(redis_server: RedisServer, replica: RedisServer) -> None:
    replica.config.unlink()
    replica.config.mkdir()
    told: Any = store_of(replica).promote(Stop())
    assert told["kept_in"] is None and "at a restart of Redis this is forgotten" in told["note"]
    assert store_of(replica).role().writable


def test_a_diverged_replica_is_rebuilt_though_it_is_in_sync(redis_server: RedisServer, replica: RedisServer) -> None:
    redis_server.cli("set", "k", "1")
    diverge(replica)
    result, phases = resync(store_of(replica))
    assert result == {"primary": f"127.0.0.1:{redis_server.port}", **KEPT}
    assert phases[0] == f"following 127.0.0.1:{redis_server.port}"
    assert replica.cli("get", "k") == "1" and replica.cli("exists", "diverged") == "0"
    assert store_of(replica).role().streaming


def test_an_old_primary_becomes_a_replica_of_the_new_one(redis_server: RedisServer, replica: RedisServer) -> None:
    redis_server.cli("set", "k", "1")
    redis_server.kill()
    store_of(replica).promote(Stop())
    replica.cli("set", "k", "2")
    redis_server.start()
    redis_server.cli("set", "diverged", "1")
    result, _ = resync(store_of(redis_server, replica))
    assert result["primary"] == f"127.0.0.1:{replica.port}"
    assert redis_server.cli("get", "k") == "2" and redis_server.cli("exists", "diverged") == "0"
    redis_server.await_replica()
    redis_server.stop()
    redis_server.start()
    await_that(lambda: store_of(redis_server).role().streaming, 5, "it follows also after a restart")


def test_a_server_that_is_down_is_started_by_its_service(redis_server: RedisServer, replica: RedisServer) -> None:
    service = Commands(replica.pid_command, replica.start_command, replica.stop_command, 10)
    replica.stop()
    with pytest.raises(DatastoreRefused, match=r"is down, and there is no \[service\] to start it"):
        resync(store_of(replica))
    phases: list[str] = []
    store_of(replica).resync(service, into(phases))
    assert phases[0] == "starting Redis" and store_of(replica).role().streaming


def test_a_primary_that_takes_its_time_before_it_sends_is_awaited(
    redis_server: RedisServer, replica: RedisServer
) -> None:
    redis_server.cli("config", "set", "repl-diskless-sync-delay", "3")
    _, phases = resync(store_of(replica, timeout=1))
    assert "awaiting the primary" in phases and store_of(replica).role().streaming


def test_how_far_a_copy_is_can_be_watched(redis_server: RedisServer, replica: RedisServer) -> None:
    redis_server.cli("config", "set", "repl-diskless-sync", "no")
    redis_server.cli("eval", "for i = 1, 2000 do redis.call('set', i, string.rep('x', 1000)) end", "0")
    redis_server.cli("config", "set", "rdbcompression", "no")
    replica.cli("config", "set", "loading-process-events-interval-bytes", "1024")
    replica.cli("config", "set", "key-load-delay", "300")  # microseconds
    _, phases = resync(store_of(replica))
    tenths = [phase for phase in phases if phase.startswith("loading its data: ")]
    assert tenths == sorted(set(tenths), key=phases.index) and len(tenths) > 2, phases
    assert replica.cli("dbsize") == "2000"


def test_a_copy_that_can_lead_nowhere_is_not_begun(
    redis_server: RedisServer, replica: RedisServer, server_dir: Path
) -> None:
    refused = {
        "follows nobody: set datastore.primary": store_of(redis_server),
        "is this server itself": store_of(redis_server, redis_server),
        "follows this server: promote it first": store_of(redis_server, replica),
    }
    for words, store in refused.items():
        with pytest.raises(DatastoreRefused, match=words):
            resync(store)
    with RedisServer(server_dir / "third", replica_of=redis_server) as third:
        third.await_replica()
        redis_server.kill()
        await_that(lambda: not store_of(replica).role().streaming, 5)
        with pytest.raises(DatastoreRefused, match="lost its own primary: promote it first"):
            resync(store_of(third, replica))
        with pytest.raises(DatastoreUnreachable, match="nothing listens"):
            resync(store_of(third, redis_server))
        assert store_of(third).role() == Role("replica", f"127.0.0.1:{redis_server.port}")


def test_a_replica_whose_primary_is_gone_says_so_in_time(redis_server: RedisServer, replica: RedisServer) -> None:
    redis_server.kill()
    with pytest.raises(DatastoreUnreachable, match=f"127.0.0.1:{redis_server.port} sends Redis at .* no data"):
        resync(store_of(replica, timeout=1))


def test_the_password_for_the_primary_is_set_and_not_shown(server_dir: Path) -> None:
    (server_dir / "right").write_text("correct-horse\n")
    (server_dir / "wrong").write_text("wrong-horse\n")
    with (
        RedisServer(server_dir / "a", password="correct-horse") as primary,
        RedisServer(server_dir / "b") as here,
    ):
        here.cli("config", "set", "slowlog-log-slower-than", "0")
        with pytest.raises(DatastoreRefused, match="invalid username-password") as raised:
            resync(store_of(here, primary, primary_password_file=str(server_dir / "wrong")))
        assert "horse" not in str(raised.value) and store_of(here).role().name == "primary"
        result, phases = resync(store_of(here, primary, primary_password_file=str(server_dir / "right")))
        assert store_of(here).role().streaming
        assert "horse" not in f"{result}{phases}{here.cli('slowlog', 'get')}{here.log.read_text()}"


@pytest.fixture(scope="module")
def pair(module_dir: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer(module_dir / "a", appendonly=False) as one, RedisServer(module_dir / "b", appendonly=False) as two:
        yield one, two


@pytest.mark.parametrize("without", ["", *AGENT, *REPLICATION])
def test_the_agent_needs_these_privileges_and_no_others(
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
        everything(store)
        assert without in ("", "+shutdown")
    except DatastoreError as error:
        assert without and ("no permissions" in str(error) or "sends Redis" in str(error))
    here.cli("replicaof", "no", "one")
    here.cli("acl", "deluser", "app")
    if without in ("", "+shutdown"):
        shut_down(store, here, refused=bool(without))


def everything(store: Datastore) -> None:
    assert store.is_up() and not store.user_exists("app")
    store.create_user("app", "horse", ["app"], "owner")
    store.delete_user("app")
    store.keep_users()
    resync(store)
    assert not store.is_dirty() and store.role().streaming
    store.promote(Stop())


def shut_down(store: Datastore, server: RedisServer, *, refused: bool) -> None:
    if refused:
        with pytest.raises(DatastoreRefused, match="no permissions"):
            store.shut_down(5, Stop())
    else:
        store.shut_down(5, Stop())
        await_that(lambda: server.pid is None)
        server.start()


@pytest.mark.parametrize("primary", ["10.0.0.2:6379", "unix:///x", "redis://:horse@[::1"])
def test_a_primary_that_is_not_understood_stops_the_start(primary: str) -> None:
    with pytest.raises(ConfigError, match=r"datastore\.primary: ") as raised:
        at("redis://127.0.0.1", primary=primary)
    assert "horse" not in str(raised.value)
