"""Decisions of a resync on two real servers: the least destructive method, and no data discarded without force."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreRefused
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Plan
from agent.supervisors.base import Supervisor
from tests.datastores.mysql_family import (
    MAKES,
    AnyServer,
    as_root,
    await_in_step,
    options,
    primary_options,
    store,
    with_syncer,
)
from tests.datastores.reports import into, nowhere
from tests.servers.process import await_that

Pair = tuple[AnyServer, AnyServer]

SECOND = 1_700_000_000


@pytest.fixture(scope="module", params=MAKES)
def pair(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[Pair]:
    """A primary with an object of each type that a dump could corrupt, and its replica."""
    with MAKES[request.param](module_dir / "a") as primary:
        with_syncer(primary)
        for statement in (
            "CREATE DATABASE app",
            "CREATE TABLE app.t (x INT PRIMARY KEY)",
            "INSERT INTO app.t VALUES (1), (2)",
            "CREATE EVENT app.e ON SCHEDULE EVERY 1 YEAR STARTS '2001-01-01' DO INSERT INTO app.t VALUES (99)",
            "CREATE TABLE app.gone (x INT)",
            "CREATE VIEW app.invalid AS SELECT * FROM app.gone",
        ):
            as_root(primary, statement)
        if is_mariadb(primary):
            as_root(primary, "CREATE TABLE app.versioned (x INT) WITH SYSTEM VERSIONING")
            as_root(primary, "INSERT INTO app.versioned VALUES (1), (2)")
            as_root(primary, "UPDATE app.versioned SET x = x + 1")
        with primary.replica(module_dir / "b") as replica:
            as_root(primary, "DROP TABLE app.gone")
            await_in_step(replica, primary)
            yield primary, replica


def is_mariadb(server: AnyServer) -> bool:
    return isinstance(server, MAKES["mariadb"])


def service_of(server: AnyServer) -> Supervisor:
    service = {
        "supervisor": "commands", "pid": server.pid_command, "start": server.start_command,
        "stop": server.stop_command, "interval": 0.1,
    }  # fmt: skip
    settings = config.parse({"service": service, "datastore": options(server)}).service
    assert settings
    return supervisors.of(settings)


def driver(pair: Pair, directory: Path) -> Any:
    return store(pair[1], **primary_options(pair[0], directory))


def planned(pair: Pair, directory: Path, **request: Any) -> Plan:
    plan = driver(pair, directory).plan_resync(service_of(pair[1]), ResyncRequest(**request))
    assert isinstance(plan, Plan)
    return plan


def resync(pair: Pair, directory: Path, **request: Any) -> dict[str, Any]:
    result = driver(pair, directory).resync(service_of(pair[1]), nowhere(), ResyncRequest(**request))
    assert isinstance(result, dict)
    return result


def dialect(server: AnyServer, statement: str) -> str:
    """A statement in the dialect of the server."""
    return statement if is_mariadb(server) else statement.replace("SLAVE", "REPLICA").replace("MASTER", "SOURCE")


def change(server: AnyServer) -> str:
    return "CHANGE MASTER TO" if is_mariadb(server) else "CHANGE REPLICATION SOURCE TO"


def at(second: int, server: AnyServer, *statements: str) -> None:
    """Execute statements of root as if the clock of the server stood at this second."""
    connection = pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        for statement in (f"SET TIMESTAMP = {second}", *statements):
            cursor.execute(statement)


@contextmanager
def writable(server: AnyServer) -> Iterator[None]:
    """The server accepts writes of root; a replica goes back to read-only."""
    if not is_mariadb(server):
        as_root(server, "SET GLOBAL super_read_only = OFF")
    yield
    if not is_mariadb(server):
        as_root(server, "SET GLOBAL super_read_only = ON")


def test_replica_in_step_is_left_untouched(pair: Pair, tmp_path: Path) -> None:
    pid = pair[1].pid
    phases: list[str] = []
    plan = planned(pair, tmp_path, force=True)
    assert (plan.would, plan.facts["method"], plan.warnings) == ("nothing", "none", [])
    result = driver(pair, tmp_path).resync(service_of(pair[1]), into(phases), ResyncRequest())
    assert (result["method"], result["discarded"], pair[1].pid) == ("none", [], pid)
    assert phases == ["waiting for this server", "checking the primary"]


def test_delayed_replay_is_reported_and_not_changed(pair: Pair, tmp_path: Path) -> None:
    replica = pair[1]
    delay(replica, 3600)
    plan = planned(pair, tmp_path)
    assert plan.would == "nothing" and "delayed by 3600 s" in plan.warnings[0]
    delay(replica, 0)


def delay(replica: AnyServer, seconds: int) -> None:
    as_root(replica, dialect(replica, "STOP SLAVE"))
    as_root(replica, dialect(replica, f"{change(replica)} MASTER_DELAY = {seconds}"))
    as_root(replica, dialect(replica, "START SLAVE"))
    await_that(lambda: store(replica).role().streaming, 20, "the replica streams")


def test_disabled_replica_without_own_writes_follows_again_without_force(pair: Pair, tmp_path: Path) -> None:
    primary, replica = pair
    as_root(replica, dialect(replica, "STOP SLAVE"))
    as_root(replica, dialect(replica, "RESET SLAVE ALL"))
    as_root(primary, "INSERT INTO app.t VALUES (3)")
    plan = planned(pair, tmp_path)
    assert plan.facts["method"] == "follow" and plan.facts["behind"] == 1 and not plan.discards
    assert resync(pair, tmp_path)["method"] == "follow"
    await_in_step(replica, primary)
    assert store(replica).role().streaming and not store(replica).role().writable


def test_own_transactions_are_refused_by_gtid_and_reported_with_force(pair: Pair, tmp_path: Path) -> None:
    primary, replica = pair
    with writable(replica):
        as_root(replica, "INSERT INTO app.t VALUES (77)")
    plan = planned(pair, tmp_path)
    assert plan.refusal and "1 transactions that" in plan.refusal.reason and "force" in plan.refusal.lifted_by
    [discard] = plan.discards
    with pytest.raises(DatastoreRefused, match="1 transactions that"):
        resync(pair, tmp_path)
    assert (77,) in as_root(replica, "SELECT x FROM app.t")
    result = resync(pair, tmp_path, force=True)
    assert [(each["what"], each["amount"]) for each in result["discarded"]] == [(discard.what, 1)]
    assert result["method"] == ("dump" if is_mariadb(replica) else "clone") and result["where"] == "beside"
    check_copy(primary, replica)


def check_copy(primary: AnyServer, replica: AnyServer) -> None:
    """Assert that the copy equals the data that replication would have made."""
    await_in_step(replica, primary)
    assert as_root(replica, "SELECT x FROM app.t") == as_root(primary, "SELECT x FROM app.t")
    [(status,)] = as_root(replica, "SELECT status FROM information_schema.events WHERE event_name = 'e'")
    assert status in ("SLAVESIDE_DISABLED", "REPLICA_SIDE_DISABLED")
    assert not replica.data.with_name("data.resync").exists() and not store(replica).is_dirty()
    if is_mariadb(replica):
        history = "SELECT x, row_start, row_end FROM app.versioned FOR SYSTEM_TIME ALL ORDER BY row_start, x"
        assert len(as_root(replica, history)) == 4 and as_root(replica, history) == as_root(primary, history)
    as_root(primary, "INSERT INTO app.t SELECT MAX(x) + 1 FROM app.t")
    await_in_step(replica, primary)
    assert store(replica).role().streaming


def test_replica_with_two_sources_is_refused(pair: Pair, tmp_path: Path) -> None:
    replica = pair[1]
    if is_mariadb(replica):
        other = "CHANGE MASTER 'c' TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'x'"
        forget = "RESET SLAVE 'c' ALL"
    else:
        other = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1 FOR CHANNEL 'c'"
        forget = "RESET REPLICA ALL FOR CHANNEL 'c'"
    as_root(replica, other)
    plan = planned(pair, tmp_path, force=True)
    assert plan.refusal and "c (127.0.0.1:1)" in plan.refusal.reason and f":{pair[0].port}" in plan.refusal.reason
    with pytest.raises(DatastoreRefused, match="follows 2 sources"):
        resync(pair, tmp_path, force=True)
    as_root(replica, forget)


def test_foreign_file_among_the_data_is_found_before_anything_is_deleted(pair: Pair, tmp_path: Path) -> None:
    foreign = pair[1].data / "app" / "backup.sql"
    foreign.write_text("precious")
    plan = planned(pair, tmp_path, mode="copy")
    assert plan.refusal and str(foreign) in plan.refusal.reason
    assert f"the file {foreign}" in [each.what for each in planned(pair, tmp_path, mode="copy", force=True).discards]
    foreign.unlink()


def test_copy_in_place_needs_force(pair: Pair, tmp_path: Path) -> None:
    plan = driver(pair, tmp_path).plan_resync(None, ResyncRequest(mode="copy"))
    assert plan.refusal and "the old data cannot be restored: [service] is not set" in plan.refusal.reason
    forced = driver(pair, tmp_path).plan_resync(None, ResyncRequest(mode="copy", force=True))
    assert forced.would == "destroy" and "the old data cannot be restored" in forced.warnings[0]


def test_purged_binary_logs_need_a_copy(pair: Pair, tmp_path: Path) -> None:
    primary, replica = pair
    await_in_step(replica, primary)
    as_root(replica, dialect(replica, "STOP SLAVE"))
    as_root(primary, "INSERT INTO app.t SELECT MAX(x) + 1 FROM app.t")
    as_root(primary, "FLUSH BINARY LOGS")
    await_that(lambda: purged(primary), 20, "the logs are purged, which a connection that reads them delays")
    plan = planned(pair, tmp_path, mode="follow")
    assert plan.refusal and "binary logs no longer reach back" in plan.refusal.reason
    plan = planned(pair, tmp_path)
    assert plan.would == "destroy" and "binary logs no longer reach back" in plan.facts["why"] and not plan.discards
    assert resync(pair, tmp_path)["discarded"] == []
    check_copy(primary, replica)


def purged(server: AnyServer) -> bool:
    last = as_root(server, "SHOW BINARY LOGS")[-1][0]
    as_root(server, f"PURGE BINARY LOGS TO '{last}'")
    return len(as_root(server, "SHOW BINARY LOGS")) == 1


def test_other_cluster_is_refused_with_force_unless_adopted(pair: Pair, module_dir: Path, tmp_path: Path) -> None:
    """Also a MariaDB with the domain, server id, sequence numbers and seconds of the replica's own primary."""
    primary, replica = pair
    at(SECOND, primary, "CREATE DATABASE IF NOT EXISTS last")
    await_in_step(replica, primary)
    with type(primary)(module_dir / "c") as other:
        if is_mariadb(other):
            as_root(other, f"SET GLOBAL server_id = {primary.port}")
        at(SECOND, other, *(f"CREATE DATABASE other_{number}" for number in range(40)))
        with_syncer(other)
        plan = planned((other, replica), tmp_path, force=True)
        assert plan.refusal and "belongs to another cluster" in plan.refusal.reason, plan
        with pytest.raises(DatastoreRefused, match="belongs to another cluster"):
            resync((other, replica), tmp_path, force=True)
        assert store(replica).role().primary == f"127.0.0.1:{primary.port}" and store(replica).role().streaming
        adopted = planned((other, replica), tmp_path, adopt=plan.facts["primary_cluster_id"])
        assert adopted.would == "destroy" and "app" in adopted.discards[0].what
        assert planned((other, replica), tmp_path, adopt="wrong").refusal
