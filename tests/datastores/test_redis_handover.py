"""Switchovers of real Redis servers lose no acknowledged write; a failed one leaves the old primary working."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from agent.datastores.base import DatastoreRefused
from agent.datastores.replication_requests import PromoteRequest, ResyncRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.redis_nodes import await_link, followed_by, in_step, resync_with, settings_of, store_of, write
from tests.datastores.test_redis import in_background
from tests.servers.process import await_that, send
from tests.servers.redis import MAKES, RedisServer, binary_of
from tests.trust.certificates import Authority


@pytest.fixture(params=MAKES)
def primary(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "primary", binary=binary_of(request.param)) as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "replica", replica_of=primary, binary=primary.binary) as server:
        in_step(primary, server)
        yield server


class Writers:
    """Clients that write to the server of two that accepts writes, and record acknowledged writes."""

    def __init__(self, *servers: RedisServer) -> None:
        self.servers = servers
        self.acknowledged: dict[str, float] = {}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(name,)) for name in "ab"]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        await_that(lambda: len(self.acknowledged) > 100)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def _write(self, name: str) -> None:
        clients = [redis.Redis(unix_socket_path=str(each.socket), socket_timeout=10) for each in self.servers]
        turn = itertools.cycle(clients)
        client, number = next(turn), 0
        while not self._ended.is_set():
            key = f"{name}{number}"
            try:
                client.set(key, "1")
                self.acknowledged[key] = time.monotonic()
                number += 1
            except redis.RedisError:
                client = next(turn)
        for each in clients:
            each.close()

    def gap(self) -> float:
        """The longest time between two acknowledged writes, in seconds."""
        times = sorted(self.acknowledged.values())
        return max(after - before for before, after in itertools.pairwise(times))

    def lost(self, server: RedisServer) -> list[str]:
        with redis.Redis(unix_socket_path=str(server.socket)) as client:
            return [key for key in self.acknowledged if not client.exists(key)]


def test_switchover_under_load_loses_no_write(primary: RedisServer, replica: RedisServer) -> None:
    old, new = store_of(primary, peers={"b": replica}), store_of(replica, peers={"a": primary})
    with Writers(primary, replica) as writers:
        assert old.plan_demote(None, "b").would is Would.DISRUPT
        result = old.demote(None, "b", Stop())
        assert isinstance(result, dict) and result["handed_over_to"] == f"127.0.0.1:{replica.port}"
        if new.plan_promote(PromoteRequest()).would is not Would.NOTHING:
            new.promote(Stop())
        before = len(writers.acknowledged)
        await_that(lambda: len(writers.acknowledged) > before + 100)
    lost = writers.lost(replica)
    name = Path(primary.binary).name
    print(f"switchover of {name}: {len(writers.acknowledged)} writes, {len(lost)} lost, gap {writers.gap():.3f} s")
    assert lost == []
    assert followed_by(primary) == f"slave 127.0.0.1:{replica.port}" and old.role().streaming
    assert old.plan_demote(None, "b").would is Would.NOTHING
    primary.await_replica()
    for server in (primary, replica):
        server.stop()
        server.start()
    assert followed_by(replica).startswith("master") and followed_by(primary).startswith("slave")


def test_switchover_to_a_lagging_peer_keeps_this_primary(primary: RedisServer, replica: RedisServer) -> None:
    store, before = store_of(primary, peers={"b": replica}, timeout=1), settings_of(primary)
    assert replica.pid
    holder = in_background(lambda: store.demote(None, "b", Stop()))
    send(replica.pid, signal.SIGSTOP)
    try:
        message = str(holder())
    finally:
        send(replica.pid, signal.SIGCONT)
    assert "does not answer" in message or "this server accepts writes again" in message, message
    assert primary.cli("set", "k", "1") == "OK" and settings_of(primary) == before


def test_cancelled_handover_accepts_writes_again(primary: RedisServer, replica: RedisServer) -> None:
    store, stop = store_of(primary, peers={"b": replica}), Stop()
    replica.cli("config", "set", "requirepass", "horse")
    stop.request("cancelled")
    with pytest.raises(DatastoreRefused):
        store.demote(None, "b", stop)
    assert primary.cli("set", "k", "1") == "OK" and store.role().name == "primary"


def test_handover_to_an_unsuitable_server_is_refused(
    primary: RedisServer, replica: RedisServer, server_dir: Path
) -> None:
    with RedisServer(server_dir / "third", binary=primary.binary) as third:
        store = store_of(primary, peers={"b": replica, "c": third, "self": primary})
        plan = store.plan_demote(None, "c")
        assert plan.refusal is not None and "does not follow this server" in plan.refusal.reason
        with pytest.raises(DatastoreRefused, match="does not follow this server"):
            store.demote(None, "c", Stop())
        backwards = store_of(replica, peers={"c": third}).plan_demote(None, "c")
        assert backwards.refusal is not None and "this server is no primary" in backwards.refusal.reason
        replica.cli("config", "set", "replica-read-only", "no")
        plan = store.plan_demote(None, "b")
        assert plan.refusal is not None and "accepts writes of its own" in plan.refusal.reason


def test_status_has_all_facts_and_the_reason_of_missing_ones(primary: RedisServer, replica: RedisServer) -> None:
    primary.cli("config", "set", "min-replicas-to-write", "2")
    here = store_of(primary).status()
    assert (here.role, here.writable, here.dirty) == ("primary", True, False) and here.version
    [follower] = here.replicas
    assert follower["address"] == f"127.0.0.1:{replica.port}" and follower["state"] == "online"
    assert here.synchronous == {"required": 2, "satisfied": False, "standbys": [follower["address"]]}
    there = store_of(replica).status()
    assert (there.role, there.writable, there.cluster_id) == ("replica", False, here.cluster_id)
    assert there.source is not None and there.source["state"] == "streaming" and there.lag.bytes == 0
    assert (here.streaming, there.streaming) == (None, True)
    assert there.lag.seconds is not None and there.unknown.keys() == {"timeline", "slots"}
    primary.kill()
    await_that(lambda: (store_of(replica).status().source or {})["state"] == "connecting")
    gone = store_of(replica).status()
    assert gone.streaming is False and gone.lag.bytes is None and "nothing listens" in gone.unknown["lag"]
    down = store_of(primary).status()
    assert not down.reachable and "nothing listens" in str(down.error)


@pytest.fixture
def over_tls(server_dir: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary with a TLS port beside the plain one, and a replica that follows it over the plain one."""
    authority = Authority(server_dir)
    tls = (*authority.server(), authority.ca)
    with (
        RedisServer(server_dir / "a", tls=tls) as primary,
        RedisServer(server_dir / "b") as replica,
    ):
        replica.cli("replicaof", "127.0.0.1", str(primary.port))
        in_step(primary, replica)
        yield primary, replica


def test_a_primary_over_tls_needs_certificates_before_anything_changes(
    over_tls: tuple[RedisServer, RedisServer],
) -> None:
    """Row 28: `tls-replication no`, and a replica in step."""
    primary, replica = over_tls
    before = followed_by(replica), settings_of(replica), replica.config.read_text()
    store = store_of(replica, peers={"a": {"url": primary.tls_url}})
    plan = store.plan_resync(None, ResyncRequest(primary="a"))
    assert plan.refusal is not None and "no authority to check it by" in plan.refusal.reason
    with pytest.raises(DatastoreRefused, match="set tls-ca-cert-file"):
        resync_with(store, primary="a")
    assert (followed_by(replica), settings_of(replica), replica.config.read_text()) == before
    assert store.role().streaming


def test_primary_over_tls_is_followed_once_redis_has_certificates(
    over_tls: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = over_tls
    found = dict(line.split(" ", 1) for line in primary.config.read_text().splitlines() if line.startswith("tls-"))
    names = ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")
    replica.cli("config", "set", *(word for name in names for word in (name, found[name])))
    store = store_of(replica, peers={"a": {"url": primary.tls_url}})
    assert "set tls-replication" in store.plan_follow(None, "a").steps
    store.follow(None, "a", Stop())
    assert followed_by(replica) == f"slave 127.0.0.1:{primary.tls_port}"
    assert settings_of(replica)["tls-replication"] == "yes"
    plain = store_of(replica, primary)
    plan = plain.plan_resync(None, ResyncRequest())
    assert plan.refusal is not None and "is configured without" in plan.refusal.reason


def test_failover_of_three_nodes_needs_no_edited_file(
    primary: RedisServer, replica: RedisServer, server_dir: Path
) -> None:
    with RedisServer(server_dir / "third", replica_of=primary, binary=primary.binary) as third:
        in_step(primary, replica, third)
        primary.kill()
        store_of(replica).promote(Stop())
        write(replica, 10)
        store_of(third, peers={"b": replica}).follow(None, "b", Stop())
        await_link(third)
        primary.start()
        old = store_of(primary, peers={"b": replica})
        resync_with(old, primary="b", force=True)
        await_that(lambda: primary.cli("get", "k10") == third.cli("get", "k10") == "x")
        assert followed_by(primary) == followed_by(third) == f"slave 127.0.0.1:{replica.port}"
