"""Switchover under write load and failover of three nodes with the kinds alone; no file is edited by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pymysql
import pytest

from agent.datastores.base import DatastoreError
from agent.util.stop import Stop
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.datastores.mysql_family import (
    MAKES,
    SYNC_PASSWORD,
    AnyServer,
    as_root,
    await_in_step,
    configuration,
    login,
    password_file,
    perform,
    store,
    tcp,
    with_syncer,
)

PASSWORD = "writer's own"
ACKNOWLEDGED = 50
"""Writes before and after the switchover."""


@pytest.fixture(params=MAKES)
def nodes(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[list[AnyServer]]:
    """A primary and two replicas."""
    with MAKES[request.param](server_dir / "a") as primary:
        with_syncer(primary)
        as_root(primary, "GRANT REPLICATION SLAVE ON *.* TO syncer")
        as_root(primary, "CREATE DATABASE app")
        as_root(primary, "CREATE TABLE app.t (x BIGINT PRIMARY KEY)")
        as_root(primary, "CREATE USER writer IDENTIFIED BY %s", PASSWORD)
        as_root(primary, "GRANT ALL ON app.* TO writer")
        with primary.replica(server_dir / "b") as second, primary.replica(server_dir / "c") as third:
            yield [primary, second, third]


class Writer(Thread):
    """Writes increasing numbers to the server of two that accepts writes, and records acknowledged ones."""

    def __init__(self, servers: list[AnyServer]) -> None:
        super().__init__()
        self._servers, self._end = servers, Event()
        self.acknowledged: list[int] = []
        self.gap = 0.0

    def run(self) -> None:
        number, at, last = 0, 0, time.monotonic()
        while not self._end.is_set():
            try:
                with login(self._servers[at], "writer", PASSWORD, "app") as cursor:
                    while not self._end.is_set():
                        number += 1
                        cursor.execute("INSERT INTO t VALUES (%s)", (number,))
                        self.acknowledged.append(number)
                        self.gap, last = max(self.gap, time.monotonic() - last), time.monotonic()
                        self._end.wait(0.005)
            except pymysql.err.Error:
                at = 1 - at
                self._end.wait(0.02)

    def finish(self) -> None:
        self._end.set()
        self.join()


def start(start_agent: StartAgent, server: AnyServer, directory: Path, **peers: AnyServer) -> AgentProcess:
    """An agent of that server with these peers."""
    file = password_file(directory, SYNC_PASSWORD)
    known = {name: {"url": tcp(peer, "syncer"), "password_file": file} for name, peer in peers.items()}
    return start_agent(config=configuration(server, peers=known))


def test_switchover_under_write_load_loses_no_acknowledged_write(
    nodes: list[AnyServer], start_agent: StartAgent, tmp_path: Path
) -> None:
    a, b, _ = nodes
    on_a, on_b = start(start_agent, a, tmp_path, b=b), start(start_agent, b, tmp_path, a=a)
    writer = Writer([a, b])
    writer.start()
    try:
        eventually(lambda: len(writer.acknowledged) >= ACKNOWLEDGED, "writes before", 30)
        done = perform(on_a, "replication.demote", {"primary": "b"})["payload"]
        assert (done["role"], done["writable"], done["source"]) == ("replica", False, f"127.0.0.1:{b.port}")
        perform(on_b, "promote_slave_db", {})
        before = len(writer.acknowledged)
        eventually(lambda: len(writer.acknowledged) >= before + ACKNOWLEDGED, "writes after", 30)
    finally:
        writer.finish()
    await_in_step(a, b)
    for server in (a, b):
        lost = set(writer.acknowledged) - {row[0] for row in as_root(server, "SELECT x FROM app.t")}
        assert not lost
    print(f"{a.name}: {len(writer.acknowledged)} writes acknowledged, 0 lost, {writer.gap:.1f} s without a primary")


def test_demotion_leaves_a_primary_that_takes_writes_where_the_peer_lags(
    nodes: list[AnyServer], start_agent: StartAgent, tmp_path: Path
) -> None:
    a, b, _ = nodes
    driver = store(a, timeout=2, peers={"b": peer(b, tmp_path)})
    with login_as_root(b) as reader:
        reader.execute("LOCK TABLES app.t READ")
        as_root(a, "INSERT INTO app.t VALUES (1)")
        with pytest.raises(
            DatastoreError, match="has not applied everything of this server after 2 s; this server is unchanged"
        ):
            driver.demote(None, "b", Stop())
        assert driver.role().leads and driver.role().writable
        reader.execute("UNLOCK TABLES")
    as_root(a, "INSERT INTO app.t VALUES (2)")


def peer(server: AnyServer, directory: Path) -> dict[str, Any]:
    return {"url": tcp(server, "syncer"), "password_file": password_file(directory, SYNC_PASSWORD)}


@contextmanager
def login_as_root(server: AnyServer) -> Iterator[Any]:
    connection = pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def test_third_node_follows_the_promoted_one_after_a_failover(
    nodes: list[AnyServer], start_agent: StartAgent, tmp_path: Path
) -> None:
    a, b, c = nodes
    on_b, on_c = start(start_agent, b, tmp_path, a=a, c=c), start(start_agent, c, tmp_path, a=a, b=b)
    as_root(a, "INSERT INTO app.t VALUES (1)")
    await_in_step(b, a)
    await_in_step(c, a)
    a.kill()
    perform(on_b, "promote_slave_db", {})
    done = perform(on_c, "replication.follow", {"primary": "b"})["payload"]
    assert (done["role"], done["source"], done["streaming"]) == ("replica", f"127.0.0.1:{b.port}", True)
    as_root(b, "INSERT INTO app.t VALUES (2)")
    await_in_step(c, b)
    assert as_root(c, "SELECT x FROM app.t") == [(1,), (2,)]
    a.start()
    on_a = start(start_agent, a, tmp_path, b=b)
    done = perform(on_a, "resync_slave_db", {"primary": "b"})["payload"]
    assert (done["method"], done["discarded"], done["writable"]) == ("follow", [], False)
