"""Leftovers of a killed resync of PostgreSQL after operators or other servers changed the state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.replication_requests import ResyncRequest
from tests.datastores.postgresql_nodes import await_value
from tests.datastores.postgresql_pairs import SUM, Pair, copy_of, driver, healthy_pair, plan, resync_killed
from tests.servers.postgresql import OWNER, PostgresServer
from tests.servers.process import run

COPY = ResyncRequest(mode="copy")


@pytest.fixture(scope="module")
def healthy(module_dir: Path) -> Iterator[Pair]:
    with healthy_pair(module_dir) as pair:
        yield pair


@pytest.fixture
def pair(healthy: Pair, server_dir: Path) -> Iterator[Pair]:
    """A primary with a row (1) and its streaming replica."""
    primary, replica = (copy_of(server, server_dir / server.dir.name) for server in healthy)
    with primary, replica:
        yield primary, replica


def recovered(server: PostgresServer, primary: PostgresServer) -> str | None:
    datastore, service = driver(server, primary)
    return datastore.recover(service)


def test_complete_new_data_is_kept_although_its_primary_died(pair: Pair) -> None:
    primary, replica = pair
    resync_killed("removing the old data", replica, primary, COPY)
    primary.psql("INSERT INTO t VALUES (2)")
    await_value(replica, SUM, "3")
    primary.kill()
    await_value(replica, "SELECT count(*) FROM pg_stat_wal_receiver", "0")
    assert recovered(replica, primary) == "an interrupted resync had already succeeded: the new data is kept"
    assert replica.psql(SUM) == "3"
    assert not replica.data.with_name("data.resync").exists()


@pytest.mark.parametrize("runs", [True, False], ids=["in use", "down"])
def test_data_restored_by_hand_and_the_old_data_are_both_kept(pair: Pair, runs: bool) -> None:
    primary, replica = pair
    resync_killed("starting the server", replica, primary, COPY)
    old, aside = replica.data.with_name("data.resync") / "old", replica.dir / "aside"
    run(["mv", replica.data, aside])
    run(["runuser", "-u", OWNER, "--", "cp", "-a", old, replica.data])
    for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
        run(["cp", "-a", aside / name, replica.data])
    (replica.data / "standby.signal").unlink()
    if runs:
        replica.start()
        replica.psql("INSERT INTO t VALUES (10)")
    with pytest.raises(DatastoreError, match=f"{replica.data} is not the directory that a resync put there"):
        recovered(replica, primary)
    assert (old / "PG_VERSION").exists() and (replica.data / "PG_VERSION").exists()
    with pytest.raises(DatastoreError, match="move"):
        plan(replica, primary)
    if runs:
        assert replica.psql(SUM) == "11"
    run(["mv", old, replica.dir / "kept"])
    assert recovered(replica, primary) is not None
    assert not replica.data.with_name("data.resync").exists() and (replica.data / "PG_VERSION").exists()
