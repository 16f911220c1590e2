"""Promotions of real Redis servers report the old primary, the lag, and whether a write succeeds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import Datastore, DatastoreRefused, Role
from agent.datastores.redis import promotion
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.redis_nodes import KEPT, followed_by, in_step, store_of, write
from tests.servers.process import await_that, free_port, send
from tests.servers.redis import MAKES, RedisServer, binary_of


@pytest.fixture(params=MAKES)
def primary(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "primary", binary=binary_of(request.param)) as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "replica", replica_of=primary, binary=primary.binary) as server:
        in_step(primary, server)
        yield server


def promote(store: Datastore, **request: Any) -> Any:
    """The result of a promotion, which must agree with its plan."""
    wanted = PromoteRequest(**request)
    assert store.plan_promote(wanted).would is Would.CHANGE
    return store.promote(Stop(), wanted)


def refusal(store: Datastore, **request: Any) -> str:
    """The reason of the refusal, equal for plan and action."""
    wanted = PromoteRequest(**request)
    plan = store.plan_promote(wanted)
    assert plan.refusal is not None, plan
    with pytest.raises(DatastoreRefused) as raised:
        store.promote(Stop(), wanted)
    assert plan.refusal.reason in str(raised.value)
    assert store.role().name == "replica"
    return str(raised.value)


def test_promotion_of_a_replica_of_a_dead_primary_is_persisted(primary: RedisServer, replica: RedisServer) -> None:
    primary.kill()
    store = store_of(replica)
    result = promote(store)
    assert result["lag"].pop("seconds") >= 0
    assert result == {
        "followed": f"127.0.0.1:{primary.port}",
        "was_in_sync": False,
        "old_primary": "unreachable",
        "old_primary_address": f"127.0.0.1:{primary.port}",
        "lag": {"bytes": None, "transactions": None},
        "discarded": [],
        "held_by": None,
        **KEPT,
    }
    assert replica.cli("dbsize") == "1", "the probe leaves nothing"
    assert store.plan_promote(PromoteRequest()).would is Would.NOTHING
    replica.stop()
    replica.start()
    assert store.role() == Role("primary", writable=True)


def test_promotion_beside_a_writable_primary_needs_force(primary: RedisServer, replica: RedisServer) -> None:
    """Row 13: the old primary is alive and accepts writes."""
    store = store_of(replica)
    assert f"the old primary 127.0.0.1:{primary.port} still accepts writes" in refusal(store)
    result = promote(store, force=True)
    assert result["old_primary"] == "writable" and result["lag"]["bytes"] == 0


@pytest.mark.parametrize("login", ["masterauth", "peer", "primary", "none"])
def test_old_primary_is_queried_with_every_known_login(login: str, primary: RedisServer, replica: RedisServer) -> None:
    secret = replica.dir / "secret"
    secret.write_text("horse")
    primary.cli("config", "set", "requirepass", "horse")
    primary.password = "horse"
    url = f"redis://127.0.0.1:{primary.port}"
    options: dict[str, dict[str, Any]] = {
        "peer": {"peers": {"a": {"url": url, "password_file": str(secret)}}},
        "primary": {"primary": primary, "primary_password_file": str(secret)},
    }
    if login == "masterauth":
        replica.cli("config", "set", "masterauth", "horse")
    words = refusal(store_of(replica, **options.get(login, {})))
    assert ("does not report whether it accepts writes" if login == "none" else "still accepts writes") in words
    assert "horse" not in words


def test_a_primary_that_was_demoted_is_read_only(primary: RedisServer, replica: RedisServer) -> None:
    primary.cli("replicaof", "127.0.0.1", "1")
    assert promote(store_of(replica))["old_primary"] == "read_only"


def test_a_primary_that_hangs_is_unreachable_in_time(
    primary: RedisServer, replica: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "ANSWERS_BEFORE_ACTING", 2.0)
    assert primary.pid
    send(primary.pid, signal.SIGSTOP)
    try:
        assert promote(store_of(replica))["old_primary"] == "unreachable"
    finally:
        send(primary.pid, signal.SIGCONT)


def test_replica_with_priority_zero_needs_force(primary: RedisServer, replica: RedisServer) -> None:
    """Row 13: `replica-priority 0`."""
    primary.kill()
    replica.cli("config", "set", "replica-priority", "0")
    store = store_of(replica)
    assert "replica-priority is 0" in refusal(store)
    promote(store, force=True)
    assert store.role().name == "primary"


def test_member_of_a_redis_cluster_is_refused_even_with_force(server_dir: Path, primary: RedisServer) -> None:
    """Row 13: cluster mode."""
    server = RedisServer(server_dir / "member", binary=primary.binary)
    # Its own choice for the bus is the port plus 10000, which may be past the last port.
    server.config.write_text(f"{server.config.read_text()}cluster-enabled yes\ncluster-port {free_port()}\n")
    with server:
        for force in (False, True):
            plan = store_of(server).plan_promote(PromoteRequest(force=force))
            assert plan.refusal is not None and "part of a Redis Cluster" in plan.refusal.reason
            assert "CLUSTER FAILOVER" in plan.refusal.lifted_by


def test_lag_above_max_lag_is_refused_and_an_accepted_lag_is_reported(
    primary: RedisServer, replica: RedisServer
) -> None:
    """Row 13: a replica that is 5,000 rows behind."""
    assert replica.pid
    send(replica.pid, signal.SIGSTOP)
    write(primary, 5000, size=4000)  # more than the buffers of the connection hold
    primary.cli("replicaof", "127.0.0.1", "1")  # so that the replica does not catch up
    primary.cli("client", "kill", "type", "replica")
    send(replica.pid, signal.SIGCONT)
    store = store_of(replica)
    await_that(lambda: not store.role().streaming)
    behind = primary_offset(primary) - primary_offset(replica)
    assert behind > 0
    assert f"is {behind} bytes behind, and max_lag is" in refusal(store, max_lag=Lag(bytes=behind - 1))
    result = promote(store, max_lag=Lag(bytes=behind))
    assert result["lag"]["bytes"] == behind
    [lost] = result["discarded"]
    assert lost["amount"] == behind and "only the old primary" in lost["what"]


def primary_offset(server: RedisServer) -> int:
    lines = server.cli("info", "replication").splitlines()
    return int(next(line for line in lines if line.startswith("master_repl_offset:")).partition(":")[2])


def test_unknown_lag_exceeds_any_max_lag(primary: RedisServer, replica: RedisServer) -> None:
    primary.kill()
    store = store_of(replica)
    assert "the lag in bytes is unknown" in refusal(store, max_lag=Lag(bytes=10**9))
    assert promote(store, max_lag=Lag(bytes=1), force=True)["lag"]["bytes"] is None


def test_primary_without_enough_replicas_names_what_blocks_its_writes(
    primary: RedisServer, replica: RedisServer
) -> None:
    """Row 29: the result reports a successful write, or that writes are blocked."""
    replica.cli("config", "set", "min-replicas-to-write", "1")
    primary.kill()
    store = store_of(replica)
    warnings = store.plan_promote(PromoteRequest()).warnings
    assert any("min-replicas-to-write is 1, and 0 replicas are connected" in each for each in warnings)
    result = promote(store)
    assert result["writable"] is False
    assert result["held_by"] == "min-replicas-to-write is 1, and 0 replicas are connected"


def test_full_memory_blocks_the_writes(primary: RedisServer, replica: RedisServer) -> None:
    primary.kill()
    replica.cli("config", "set", "maxmemory", "1")
    result = promote(store_of(replica))
    assert result["writable"] is False and "maxmemory" in result["held_by"]


def test_missing_permission_for_the_probe_write_is_reported(primary: RedisServer, replica: RedisServer) -> None:
    primary.kill()
    allowed = ["+info", "+config|get", "+config|rewrite", "+replicaof", "+multi", "+exec", "+discard"]
    replica.cli("acl", "setuser", "agent", "on", ">horse", *allowed)
    (replica.dir / "secret").write_text("horse")
    store = store_of(replica, url=f"unix://agent@{replica.socket}", password_file=str(replica.dir / "secret"))
    assert any("may not write the probe" in each for each in store.plan_promote(PromoteRequest()).warnings)
    result = promote(store)
    assert result["writable"] is False and "the agent may not write a probe" in result["held_by"]


def test_promotion_rewrites_a_configuration_file_that_still_names_a_source(
    primary: RedisServer, replica: RedisServer
) -> None:
    """After a failover that another server began, a restart would make the new primary a replica again."""
    replica.cli("replicaof", "no", "one")
    store = store_of(replica)
    assert promote(store)["held_by"] is None
    assert "replicaof" not in replica.config.read_text()
    assert store.plan_promote(PromoteRequest()).would is Would.NOTHING
    assert followed_by(replica).startswith("master")
