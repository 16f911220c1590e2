"""A promotion reports the loss, whether another primary accepts writes, and proves that a commit succeeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreRefused, OutcomeUnknown
from agent.datastores.mysql import commit
from agent.datastores.mysql.datastore import MySQL
from agent.datastores.replication_requests import PROMOTE, Lag, PromoteRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.mysql_family import MAKES, AnyServer, as_root, password_file, store, tcp
from tests.servers.process import await_that, free_port

ASKER_PASSWORD = "ask-horse-1"
LONG = 600_000
"""Milliseconds that a commit waits for a replica that acknowledges."""


@pytest.fixture(scope="module", params=MAKES)
def primary(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with MAKES[request.param](module_dir / "a") as started:
        as_root(started, "CREATE USER asker IDENTIFIED BY %s", ASKER_PASSWORD)
        monitor = "BINLOG MONITOR, SLAVE MONITOR" if is_mariadb(started) else "REPLICATION CLIENT"
        as_root(started, f"GRANT {monitor} ON *.* TO asker")
        as_root(started, "CREATE DATABASE app")
        as_root(started, "CREATE TABLE app.t (x INT PRIMARY KEY)")
        yield started


@pytest.fixture
def replica(primary: AnyServer, server_dir: Path) -> Iterator[AnyServer]:
    """A separate replica for each test, because most tests promote it."""
    as_root(primary, "DELETE FROM app.t")
    with primary.replica(server_dir / "b") as started:
        yield started


@pytest.fixture
def driver(primary: AnyServer, replica: AnyServer, tmp_path: Path) -> MySQL:
    """The replica's driver, with a login for its primary."""
    file = password_file(tmp_path, ASKER_PASSWORD)
    return store(replica, timeout=8, peers={"db-1": {"url": tcp(primary, "asker"), "password_file": file}})


def is_mariadb(server: AnyServer) -> bool:
    return isinstance(server, MAKES["mariadb"])


@contextmanager
def read_only(server: AnyServer) -> Iterator[None]:
    """A primary set to read-only."""
    as_root(server, f"SET GLOBAL {'read_only' if is_mariadb(server) else 'super_read_only'} = ON")
    yield
    as_root(server, "SET GLOBAL read_only = OFF")


def receive_nothing(replica: AnyServer) -> None:
    as_root(replica, "STOP REPLICA IO_THREAD")


def test_promotion_beside_a_writable_primary_needs_force(primary: AnyServer, replica: AnyServer, driver: MySQL) -> None:
    plan = driver.plan_promote(PROMOTE)
    assert plan.would is Would.REFUSE and "still accepts writes" in plan.summary
    assert plan.facts["old_primary"] == "writable" and plan.facts["lag"]["transactions"] == 0
    with pytest.raises(
        DatastoreRefused, match=f"the old primary 127.0.0.1:{primary.port} still accepts writes; stop it"
    ):
        driver.promote(Stop())
    assert driver.role().streaming and not driver.role().writable, "nothing is changed"
    assert driver.plan_promote(PromoteRequest(force=True)).would is Would.CHANGE
    done = promoted(driver, PromoteRequest(force=True))
    assert (done["old_primary"], done["old_primary_address"]) == ("writable", f"127.0.0.1:{primary.port}")
    assert done["held_by"] is None and done["lag"] == {"bytes": 0, "seconds": 0.0, "transactions": 0}
    assert driver.role().writable
    assert driver.plan_promote(PROMOTE).would is Would.NOTHING
    assert as_root(replica, "SHOW TABLES FROM mysql LIKE 'agent%'") == []


def test_missing_transactions_are_counted_and_refused_beyond_max_lag(
    primary: AnyServer, replica: AnyServer, driver: MySQL
) -> None:
    receive_nothing(replica)
    for x in range(5):
        as_root(primary, "INSERT INTO app.t VALUES (%s)", x)
    with read_only(primary):
        plan = driver.plan_promote(PromoteRequest(max_lag=Lag(bytes=100)))
        assert plan.would is Would.REFUSE and "bytes behind, and max_lag is 100" in plan.summary
        lag = plan.facts["lag"]
        assert lag["transactions"] == 5 and lag["bytes"] > 500, lag
        with pytest.raises(DatastoreRefused, match="behind, and max_lag is 3"):
            driver.promote(Stop(), PromoteRequest(max_lag=Lag(transactions=3)))
        plan = driver.plan_promote(PromoteRequest(max_lag=Lag(bytes=1 << 20)))
        assert plan.would is Would.CHANGE and plan.discards[0].amount == 5
        done = promoted(driver, PromoteRequest(max_lag=Lag(bytes=1 << 20)))
    assert done["lag"]["transactions"] == 5 and done["old_primary"] == "read_only"
    assert [each["amount"] for each in done["discarded"]] == [5]


def test_promotion_with_wait_catches_up_first(primary: AnyServer, replica: AnyServer, driver: MySQL) -> None:
    receive_nothing(replica)
    as_root(primary, "INSERT INTO app.t VALUES (1)")
    as_root(replica, "START REPLICA IO_THREAD")
    await_that(lambda: driver.status().streaming is True, 20, "the replica receives")
    with read_only(primary):
        done = promoted(driver, PromoteRequest(wait=20, max_lag=Lag(transactions=0)))
    assert done["lag"]["transactions"] == 0 and as_root(replica, "SELECT x FROM app.t") == [(1,)]


def test_dead_primary_makes_the_lag_unknown_and_max_lag_a_refusal(primary: AnyServer, replica: AnyServer) -> None:
    driver = store(replica, timeout=8)
    as_root(replica, "STOP REPLICA")
    as_root(replica, f"CHANGE {source(replica)}_PORT = {free_port()}")
    plan = driver.plan_promote(PromoteRequest(max_lag=Lag(bytes=1 << 30)))
    assert plan.would is Would.REFUSE and "the lag in bytes is unknown" in plan.summary
    plan = driver.plan_promote(PROMOTE)
    assert (plan.would, plan.facts["old_primary"]) == (Would.CHANGE, "unreachable")
    assert "it is unknown how many transactions" in plan.warnings[0]
    done = promoted(driver, PROMOTE)
    assert done["old_primary"] == "unreachable" and done["lag"]["transactions"] is None and done["held_by"] is None


def test_primary_without_known_login_is_not_taken_for_gone(primary: AnyServer, replica: AnyServer) -> None:
    driver = store(replica)
    plan = driver.plan_promote(PROMOTE)
    assert plan.would is Would.REFUSE and plan.facts["old_primary"] == "unknown"
    with pytest.raises(DatastoreRefused, match=r"does not report whether it accepts writes.*datastore\.peers"):
        driver.promote(Stop())


def test_transactions_only_on_the_replica_are_reported(primary: AnyServer, replica: AnyServer, driver: MySQL) -> None:
    with read_only(primary):
        assert driver.plan_promote(PROMOTE).facts["errant"] == ""
        as_root(replica, "SET GLOBAL read_only = OFF")
        as_root(replica, "CREATE DATABASE only_here")
        plan = driver.plan_promote(PROMOTE)
        assert plan.would is Would.REFUSE or plan.facts["errant"], plan
        assert any("has transactions that" in each for each in plan.warnings)
        assert promoted(driver, PROMOTE)["errant"] == plan.facts["errant"]


def test_received_transactions_that_cannot_be_applied_are_discarded_only_with_force(
    primary: AnyServer, replica: AnyServer, driver: MySQL
) -> None:
    as_root(replica, "SET GLOBAL read_only = OFF")
    as_root(replica, "CREATE TABLE app.only_here (x INT)")
    as_root(primary, "CREATE TABLE app.only_here (x INT)")
    await_that(lambda: not driver.role().streaming, 20, "the applier stops")
    with read_only(primary):
        plan = driver.plan_promote(PROMOTE)
        assert plan.would is Would.REFUSE and "cannot apply the transactions that it received: " in plan.summary
        plan = driver.plan_promote(PromoteRequest(force=True))
        assert plan.would is Would.DESTROY and plan.discards[-1].amount == 1
        done = promoted(driver, PromoteRequest(force=True))
    as_root(primary, "DROP TABLE app.only_here")
    assert done["discarded"][-1]["what"] == "transactions that were received and are not applied"


def test_commit_waiting_for_replicas_is_reported(
    primary: AnyServer, replica: AnyServer, driver: MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "LONGEST", 1.5)
    require_a_replica(replica)
    with read_only(primary):
        plan = driver.plan_promote(PROMOTE)
        assert plan.would is Would.CHANGE and "0 of 1 required replicas acknowledge" in plan.warnings[-1]
        done = promoted(driver, PROMOTE)
    assert "semi-synchronous replication: 0 of 1 required replicas acknowledge; a commit waits 600 s" in done["held_by"]


def test_database_whose_commit_waits_for_replicas_is_not_reported_as_failed(
    primary: AnyServer, server_dir: Path
) -> None:
    """The server waits longer for a replica than the agent does for the server."""
    with type(primary)(server_dir / "alone") as alone:
        require_a_replica(alone)
        driver = store(alone, timeout=2)
        if is_mariadb(alone):  # the statement can be ended, and has taken effect
            done = driver.create_database("late", {})
            assert "the database late is created" in done["late"] and "Waiting for semi-sync ACK" in done["late"]
            assert driver.database_exists("late")
            return
        with pytest.raises(OutcomeUnknown, match="it may still take effect: its state was: ") as raised:
            driver.create_database("late", {})
        assert "replica" in str(raised.value.waits_for) or "commit" in str(raised.value.waits_for)
        as_root(alone, "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
        await_that(lambda: store(alone).database_exists("late"), 20, "it takes effect, as was said")


def test_a_delayed_replica_is_not_promoted_with_received_transactions_unapplied(
    primary: AnyServer, replica: AnyServer, driver: MySQL
) -> None:
    as_root(replica, "STOP REPLICA")
    as_root(replica, f"CHANGE {source(replica)}_DELAY = 3600")
    as_root(replica, "START REPLICA")
    await_that(lambda: driver.role().streaming, 20, "it receives")
    as_root(primary, "INSERT INTO app.t VALUES (7)")
    await_that(lambda: driver.plan_promote(PROMOTE).facts["unapplied"]["transactions"] == 1, 20, "the row is received")
    with read_only(primary):
        plan = driver.plan_promote(PROMOTE)
        assert plan.would is Would.REFUSE and "apply 3600 s late" in plan.summary
        with pytest.raises(DatastoreRefused, match="set the delay to 0 first"):
            driver.promote(Stop())


def promoted(driver: MySQL, request: PromoteRequest) -> dict[str, Any]:
    """The result of a promotion, which the plan must have allowed."""
    assert driver.plan_promote(request).would in (Would.CHANGE, Would.DESTROY)
    done = driver.promote(Stop(), request)
    assert isinstance(done, dict) and driver.role().leads
    return done


def require_a_replica(server: AnyServer) -> None:
    """From now on a commit waits for a replica that acknowledges it."""
    if is_mariadb(server):
        as_root(server, f"SET GLOBAL rpl_semi_sync_master_timeout = {LONG}")
        as_root(server, "SET GLOBAL rpl_semi_sync_master_enabled = ON")
        return
    as_root(server, "SET GLOBAL super_read_only = OFF")
    as_root(server, "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
    as_root(server, f"SET GLOBAL rpl_semi_sync_source_timeout = {LONG}")
    as_root(server, "SET GLOBAL rpl_semi_sync_source_enabled = ON")


def source(server: AnyServer) -> str:
    """The prefix of an option of CHANGE in the dialect of this make."""
    return "MASTER TO MASTER" if is_mariadb(server) else "REPLICATION SOURCE TO SOURCE"


def test_plan_warns_before_the_last_acknowledging_replica_leaves(
    primary: AnyServer, replica: AnyServer, driver: MySQL
) -> None:
    assert not any("acknowledge" in each for each in driver.plan_disable_replication().warnings)
    require_a_replica(primary)
    try:
        acknowledge(replica)
        await_that(lambda: any("acknowledge" in each for each in driver.plan_disable_replication().warnings), 20)
        plan = driver.plan_disable_replication()
        assert "one of 1 replicas that acknowledge" in plan.warnings[0] and "waits 600 s" in plan.warnings[0]
        assert any("MariaDB does not stay read-only" in each for each in plan.warnings) == is_mariadb(replica)
        done = driver.disable_replication(Stop())
        assert isinstance(done, dict) and done["warnings"] == plan.warnings
        assert (driver.role().name, driver.plan_disable_replication().would) == ("standalone", Would.NOTHING)
    finally:
        word = "master" if is_mariadb(primary) else "source"
        as_root(primary, f"SET GLOBAL rpl_semi_sync_{word}_enabled = OFF")


def acknowledge(replica: AnyServer) -> None:
    """From now on the replica acknowledges what it receives."""
    if not is_mariadb(replica):
        as_root(replica, "SET GLOBAL super_read_only = OFF")
        as_root(replica, "INSTALL PLUGIN rpl_semi_sync_replica SONAME 'semisync_replica.so'")
    as_root(replica, f"SET GLOBAL rpl_semi_sync_{'slave' if is_mariadb(replica) else 'replica'}_enabled = ON")
    as_root(replica, "STOP REPLICA IO_THREAD")
    as_root(replica, "START REPLICA IO_THREAD")
