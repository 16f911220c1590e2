"""A third server, a filter, an empty replica or a local database prevents promotion, handover or copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql.datastore import MySQL
from agent.datastores.replication_requests import PROMOTE, PromoteRequest, ResyncRequest
from agent.plan import Plan, Would
from agent.supervisors.base import Supervisor
from agent.util.stop import Stop
from tests.datastores.mysql_family import (
    MAKES,
    SYNC_PASSWORD,
    AnyServer,
    as_root,
    await_in_step,
    password_file,
    primary_options,
    store,
    tcp,
    with_syncer,
)
from tests.datastores.reports import nowhere

Servers = tuple[AnyServer, AnyServer, AnyServer]
COPY = ResyncRequest(mode="copy")
NOWHERE = 1
FOLLOW_NOTHING = {
    MAKES["mariadb"]: "CHANGE MASTER TO master_host = '127.0.0.1', master_port = 1, master_user = 'replicator', "
    "master_use_gtid = slave_pos; START REPLICA; SET GLOBAL read_only = 1",
    MAKES["mysql"]: "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO source_host = '127.0.0.1', "
    "source_port = 1, source_user = 'replicator', source_auto_position = 1; START REPLICA; "
    "SET GLOBAL super_read_only = 1",
}


@pytest.fixture(scope="module", params=MAKES)
def servers(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[Servers]:
    """A primary a and its replicas b and c, which no test promotes."""
    make = MAKES[request.param]
    with make(module_dir / "a") as a:
        with_syncer(a)
        as_root(a, "CREATE DATABASE app")
        as_root(a, "CREATE TABLE app.t (x INT PRIMARY KEY)")
        with a.replica(module_dir / "b") as b, a.replica(module_dir / "c") as c:
            yield a, b, c


def driver(server: AnyServer, directory: Path, *peers: AnyServer, **more: object) -> MySQL:
    file = password_file(directory, SYNC_PASSWORD)
    tables = {each.dir.name: {"url": tcp(each, "syncer"), "password_file": file} for each in peers}
    return store(server, timeout=8, peers=tables, **more)


def service_of(server: AnyServer) -> Supervisor:
    commands = {"pid": server.pid_command, "start": server.start_command, "stop": server.stop_command}
    parsed = config.parse({"service": {"supervisor": "commands", "interval": 0.1, **commands}})
    assert parsed.service
    return supervisors.of(parsed.service)


def is_mariadb(server: AnyServer) -> bool:
    return isinstance(server, MAKES["mariadb"])


def refused(driver: MySQL, words: str) -> Plan:
    """Assert that plan and action refuse the promotion without `force`; the server follows as before."""
    plan = driver.plan_promote(PROMOTE)
    assert plan.would is Would.REFUSE and words in plan.summary, plan
    with pytest.raises(DatastoreRefused) as raised:
        driver.promote(Stop())
    assert words in str(raised.value)
    assert driver.role().name == "replica" and not driver.role().writable
    assert driver.plan_promote(PromoteRequest(force=True)).would is not Would.REFUSE
    return plan


def aim(server: AnyServer, port: int) -> None:
    """Make a replica follow the server at that port."""
    change = "CHANGE MASTER TO master_port" if is_mariadb(server) else "CHANGE REPLICATION SOURCE TO source_port"
    server.sql(f"STOP REPLICA; {change} = {port}; START REPLICA")


def set_filter(server: AnyServer, database: str) -> None:
    filters = (
        f"SET GLOBAL replicate_ignore_db = '{database}'"
        if is_mariadb(server)
        else f"CHANGE REPLICATION FILTER REPLICATE_IGNORE_DB = ({database})"
    )
    server.sql(f"STOP REPLICA; {filters}; START REPLICA")


def without_a_gtid(server: AnyServer, statement: str) -> None:
    word = "read_only" if is_mariadb(server) else "super_read_only"
    server.sql(f"SET GLOBAL {word} = 0; SET sql_log_bin = 0; {statement}; SET GLOBAL {word} = 1")


def test_promotion_of_a_cascaded_replica_is_refused_while_its_source_receives(servers: Servers, tmp_path: Path) -> None:
    a, b, c = servers
    aim(c, b.port)
    try:
        await_in_step(c, a)
        plan = refused(driver(c, tmp_path, b), f"receives from 127.0.0.1:{a.port}, which may accept writes")
        assert plan.facts["old_primary"] == "read_only"
    finally:
        aim(c, a.port)


def test_promotion_is_refused_while_another_configured_server_takes_writes_or_has_more(
    servers: Servers, tmp_path: Path
) -> None:
    a, b, c = servers
    await_in_step(b, a)
    aim(b, NOWHERE)
    try:
        as_root(a, "INSERT INTO app.t VALUES (1), (2)")
        as_root(a, "INSERT INTO app.t VALUES (3)")
        await_in_step(c, a)
        refused(driver(b, tmp_path, a, c), f"127.0.0.1:{a.port} accepts writes")
        refused(driver(b, tmp_path, c), f"127.0.0.1:{c.port} has 2 transactions that this server lacks")
    finally:
        aim(b, a.port)


def test_filtered_replica_is_refused_for_promotion_handover_and_copy(servers: Servers, tmp_path: Path) -> None:
    a, b, c = servers
    set_filter(b, "audit")
    try:
        await_in_step(b, a)
        a.sql("SET GLOBAL read_only = 1")
        refused(driver(b, tmp_path, a), "replicates with filters, so it may lack data of its source: ")
        a.sql("SET GLOBAL read_only = 0")
        plan = driver(a, tmp_path, b).plan_demote(service_of(a), "b")
        assert plan.would is Would.REFUSE and "replicates with filters" in plan.summary, plan
        plan = driver(c, tmp_path, b).plan_resync(service_of(c), ResyncRequest(mode="copy", primary="b"))
        assert plan.would is Would.REFUSE and "replicate_ignore_db = audit" in plan.summary, plan
    finally:
        a.sql("SET GLOBAL read_only = 0")
        set_filter(b, "")


def test_copy_that_would_remove_a_database_without_gtids_needs_force(servers: Servers, tmp_path: Path) -> None:
    a, b, _ = servers
    await_in_step(b, a)
    without_a_gtid(b, "CREATE DATABASE local_only")
    try:
        local, service = driver(b, tmp_path, **primary_options(a, tmp_path)), service_of(b)
        plan = local.plan_resync(service, COPY)
        assert plan.would is Would.REFUSE and "lacks: local_only" in plan.summary, plan
        with pytest.raises(DatastoreRefused, match="local_only"):
            local.resync(service, nowhere(), COPY)
        forced = local.plan_resync(service, ResyncRequest(mode="copy", force=True))
        assert forced.would is Would.DESTROY and any("local_only" in each.what for each in forced.discards), forced
        assert local.plan_resync(service, ResyncRequest()).would is Would.NOTHING
    finally:
        without_a_gtid(b, "DROP DATABASE local_only")


def test_replica_that_never_received_anything_is_not_promoted(
    servers: Servers, server_dir: Path, tmp_path: Path
) -> None:
    with type(servers[0])(server_dir / "empty") as empty:
        empty.sql(FOLLOW_NOTHING[type(empty)])
        refused(driver(empty, tmp_path), "no transaction at all")
