"""The facts about a server and its replica, as `GET /api/unstable/datastore` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datastores.mysql_family import MAKES, AnyServer, as_root, await_in_step, store
from tests.servers.process import await_that


@pytest.fixture(scope="module", params=MAKES)
def pair(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[tuple[AnyServer, AnyServer]]:
    with MAKES[request.param](module_dir / "a") as primary:
        as_root(primary, "CREATE DATABASE app")
        with primary.replica(module_dir / "b") as replica:
            yield primary, replica


def test_status_of_a_primary_and_its_replica_is_complete(pair: tuple[AnyServer, AnyServer]) -> None:
    primary, replica = pair
    await_in_step(replica, primary)
    above, below = store(primary).status(), store(replica).status()
    assert (above.role, above.writable, above.source, above.dirty) == ("primary", True, None, False)
    assert (below.role, below.writable, below.dirty) == ("replica", False, False)
    assert above.cluster_id == below.cluster_id and above.version == below.version
    assert below.source is not None and below.source["address"] == f"127.0.0.1:{primary.port}"
    assert below.source["state"] == "streaming" and below.source["error"] is None
    assert (above.streaming, below.streaming) == (None, True)
    assert (below.lag.bytes, below.lag.transactions) == (0, 0)
    assert [each["name"] for each in above.replicas] == ["replicator"] and not below.replicas
    assert above.position and set(above.unknown) == {"timeline", "slots"}


def test_received_transactions_not_applied_yet_are_the_lag(pair: tuple[AnyServer, AnyServer]) -> None:
    primary, replica = pair
    as_root(replica, "STOP REPLICA SQL_THREAD")
    as_root(primary, "CREATE TABLE app.lag (x INT)")
    driver = store(replica)
    await_that(lambda: driver.status().lag.transactions == 1, 20, "it is received")
    status = driver.status()
    assert status.streaming is False, "it receives, and applies nothing"
    assert status.lag.bytes and status.source is not None and status.source["state"] == "streaming"
    as_root(replica, "STOP REPLICA IO_THREAD")
    as_root(replica, "START REPLICA")
    await_that(lambda: driver.status().lag.transactions == 0, 20, "it is applied")


def test_replica_with_one_broken_source_of_two_shows_this_source(pair: tuple[AnyServer, AnyServer]) -> None:
    primary, replica = pair
    if isinstance(replica, MAKES["mariadb"]):
        other, forget = "CHANGE MASTER 'z' TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1", "RESET SLAVE 'z' ALL"
    else:
        other = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1 FOR CHANNEL 'z'"
        forget = "RESET REPLICA ALL FOR CHANNEL 'z'"
    as_root(replica, other)
    await_that(lambda: source_of(replica).get("state") == "stopped", 20, "the broken source is shown")
    status = store(replica).status()
    as_root(replica, forget)
    assert status.streaming is False and status.source is not None
    shown = {name: status.source[name] for name in ("address", "state", "others")}
    assert shown == {"address": "127.0.0.1:1", "state": "stopped", "others": [f"127.0.0.1:{primary.port}"]}


def source_of(replica: AnyServer) -> dict[str, Any]:
    return dict(store(replica).status().source or {})


def test_replica_of_a_dead_source_does_not_stream_and_has_no_lag(pair: tuple[AnyServer, AnyServer]) -> None:
    primary, replica = pair
    await_in_step(replica, primary)
    primary.kill()
    await_that(lambda: store(replica).status().streaming is False, 20, "it has noticed")
    status = store(replica).status()
    assert status.lag.bytes == 0 and status.source is not None and status.source["state"] == "connecting"
    primary.start()
    as_root(replica, "STOP REPLICA")
    as_root(replica, "START REPLICA")  # it would wait until its next try
    await_that(lambda: store(replica).status().streaming is True, 20, "it streams")


def test_a_stopped_server_is_not_reachable(pair: tuple[AnyServer, AnyServer]) -> None:
    replica = pair[1]
    replica.kill()
    status = store(replica).status()
    assert not status.reachable and "nothing listens" in str(status.error) and status.role is None
    replica.start()


def test_commits_that_wait_for_replicas_are_synchronous(pair: tuple[AnyServer, AnyServer]) -> None:
    primary = pair[0]
    assert store(primary).status().synchronous is None
    if isinstance(primary, MAKES["mysql"]):
        as_root(primary, "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
    word = "master" if isinstance(primary, MAKES["mariadb"]) else "source"
    as_root(primary, f"SET GLOBAL rpl_semi_sync_{word}_enabled = ON")
    synchronous = store(primary).status().synchronous
    assert synchronous is not None and (synchronous["required"], synchronous["satisfied"]) == (1, False)
    as_root(primary, f"SET GLOBAL rpl_semi_sync_{word}_enabled = OFF")
