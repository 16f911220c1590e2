"""Things that depend on a PostgreSQL beside its data: the agent's login, slots, a delayed replay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql import new_data_directory
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import PromoteRequest, ResyncRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.postgresql_nodes import await_value, datastore_of, query
from tests.datastores.postgresql_pairs import Pair, age, plan, resync
from tests.servers.postgresql import PostgresServer

SLOTS = "SELECT count(*) FROM pg_replication_slots"
COPY = ResyncRequest(mode="copy")


@pytest.fixture(scope="module")
def pair(module_dir: Path) -> Iterator[Pair]:
    """A primary and its streaming replica, which the tests do not change."""
    with PostgresServer(module_dir / "a") as primary, closing(primary.replica(module_dir / "b")) as replica:
        query(primary, "CREATE TABLE t AS SELECT 1 AS x")
        await_value(replica, "SELECT x FROM t", "1")
        yield primary, replica


@pytest.mark.parametrize("mode", ["auto", "copy", "follow"])
def test_server_that_refuses_only_the_agents_login_is_not_stopped(pair: Pair, mode: str) -> None:
    primary, replica = pair
    before = age(replica)
    url = replica.dsn(user="renamed")
    with pytest.raises(DatastoreRefused, match=r"\"renamed\" does not exist.*repair the login of datastore\.url"):
        plan(replica, primary, ResyncRequest(mode=mode), url=url)
    with pytest.raises(DatastoreRefused, match=r"repair the login of datastore\.url"):
        resync(replica, primary, ResyncRequest(mode=mode), url=url)
    assert age(replica) == before


def test_plan_of_a_copy_names_the_slots_that_are_lost(pair: Pair) -> None:
    primary, replica = pair
    query(replica, "SELECT pg_create_physical_replication_slot('cascade')")
    try:
        decided = plan(replica, primary, COPY)
        assert decided.would is Would.DESTROY
        assert any(
            "slots of this server are lost" in each and "cascade (physical)" in each for each in decided.warnings
        )
        assert not any("slots" in each for each in plan(replica, primary).warnings)
    finally:
        query(replica, "SELECT pg_drop_replication_slot('cascade')")


def test_copy_reports_its_progress(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    primary, replica = pair
    monkeypatch.setattr(new_data_directory, "MEASURE_EVERY", 0.01)
    states: list[dict[str, Any]] = []
    resync(replica, primary, COPY, progress=ResyncProgress(lambda report: states.append(report.state())))
    measured = [each["progress"] for each in states if each["phase"] == "pg_basebackup" and "progress" in each]
    assert measured and measured[-1]["bytes_done"] > 0 and measured[-1]["bytes_total"] > 1_000_000, states
    replica.await_streaming()


def test_promotion_of_a_delayed_replica_warns_and_drops_its_slot_on_a_read_only_primary(pair: Pair) -> None:
    primary, replica = pair
    query(replica, "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    query(replica, "SELECT pg_reload_conf()")
    await_value(replica, "SHOW recovery_min_apply_delay", "1h")
    query(primary, "DROP TABLE t")
    received = query(primary, "SELECT pg_current_wal_flush_lsn()")
    query(primary, "ALTER SYSTEM SET default_transaction_read_only = on")
    query(primary, "SELECT pg_reload_conf()")
    await_value(primary, "SHOW default_transaction_read_only", "on")
    await_value(replica, f"SELECT pg_last_wal_receive_lsn() >= '{received}'", "t")
    store = datastore_of(replica, peers={"a": {"url": primary.dsn(password=primary.password)}})
    decided = store.plan_promote(PromoteRequest())
    assert decided.would is Would.CHANGE
    assert any("delayed by 1h" in each and "replays all received WAL" in each for each in decided.warnings), decided
    assert query(primary, SLOTS) == "1"
    promoted = store.promote(Stop(), PromoteRequest())
    assert promoted["slot"] == {"name": "replica", "dropped": True} and query(primary, SLOTS) == "0"
    assert query(replica, "SELECT to_regclass('t') IS NULL") == "t"
