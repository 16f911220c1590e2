"""A third server of the cluster prevents a promotion or a handover of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreRefused
from agent.datastores.replication_requests import PromoteRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.postgresql_nodes import await_value, datastore_of, document, query
from tests.servers.postgresql import PostgresServer

Servers = tuple[PostgresServer, PostgresServer, PostgresServer]
NO_RECEIVER = ("SELECT count(*) FROM pg_stat_wal_receiver", "0")


@pytest.fixture
def chain(server_dir: Path) -> Iterator[Servers]:
    """A primary a, its replica b, and c, which follows b."""
    with (
        PostgresServer(server_dir / "a") as a,
        closing(a.replica(server_dir / "b", slot="b")) as b,
        closing(a.replica(server_dir / "c", slot="c")) as c,
    ):
        yield a, b, c


def peers(*servers: PostgresServer) -> dict[str, dict[str, str]]:
    return {each.dir.name: {"url": each.dsn(password=each.password)} for each in servers}


def point(server: PostgresServer, source: PostgresServer) -> None:
    conninfo = f"host=127.0.0.1 port={source.port} user=replicator password={source.replication_password}"
    query(server, f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'")
    query(server, "ALTER SYSTEM SET primary_slot_name = ''")
    query(server, "SELECT pg_reload_conf()")
    await_value(server, "SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'", str(source.port))


def test_promotion_of_a_cascaded_replica_is_refused_while_its_source_receives(chain: Servers) -> None:
    a, b, c = chain
    point(c, b)
    for known, named in ((peers(b), f"127.0.0.1:{a.port}"), ({}, "may not see")):
        store = datastore_of(c, peers=known)
        plan = store.plan_promote(PromoteRequest())
        assert plan.would is Would.REFUSE, plan
        assert f"127.0.0.1:{b.port} is a standby and receives from" in plan.summary and named in plan.summary
        with pytest.raises(DatastoreRefused, match="may accept writes"):
            store.promote(Stop(), PromoteRequest())
    assert query(c, "SELECT pg_is_in_recovery()") == "t"
    a.kill()
    await_value(b, *NO_RECEIVER)
    plan = datastore_of(c, peers=peers(b)).plan_promote(PromoteRequest())
    assert plan.would is Would.CHANGE and plan.facts["old_primary"] == "read_only", plan


def test_promotion_is_refused_while_another_replica_has_more_wal(chain: Servers) -> None:
    a, b, c = chain
    query(b, "ALTER SYSTEM SET primary_conninfo = ''")
    query(b, "SELECT pg_reload_conf()")
    await_value(b, *NO_RECEIVER)
    query(a, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    await_value(c, "SELECT count(*) FROM t", "1000")
    a.kill()
    store = datastore_of(b, peers=peers(a, c))
    plan = store.plan_promote(PromoteRequest())
    assert plan.would is Would.REFUSE and "bytes of WAL that this server lacks" in plan.summary, plan
    with pytest.raises(DatastoreRefused, match="bytes of WAL that this server lacks"):
        store.promote(Stop(), PromoteRequest())
    assert datastore_of(c, peers=peers(a, b)).plan_promote(PromoteRequest()).would is Would.CHANGE
    forced = store.plan_promote(PromoteRequest(force=True))
    assert forced.would is Would.CHANGE and any("lacks" in each for each in forced.warnings), forced


def test_handover_to_a_standby_on_another_timeline_is_refused_before_the_stop(chain: Servers) -> None:
    a, b, c = chain
    query(b, "SELECT pg_promote(true)")
    point(c, b)
    query(b, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
    await_value(c, "SELECT count(*) FROM t", "1000")
    parsed = config.parse(document(a, peers=peers(c)))
    assert parsed.service
    store, service = datastore_of(a, peers=peers(c)), supervisors.of(parsed.service)
    pid = a.pid
    plan = store.plan_demote(service, "c")
    assert plan.would is Would.REFUSE and "timeline" in plan.summary, plan
    with pytest.raises(DatastoreRefused, match="timeline"):
        store.demote(service, "c", Stop())
    assert a.pid == pid
