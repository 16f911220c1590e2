"""A third Redis, or a replica that started empty, prevents a promotion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import Datastore, DatastoreRefused
from agent.datastores.replication_requests import PromoteRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.redis_nodes import in_step, store_of, write
from tests.servers.process import await_that
from tests.servers.redis import MAKES, RedisServer, binary_of

Servers = tuple[RedisServer, RedisServer, RedisServer]


@pytest.fixture(params=MAKES)
def servers(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[Servers]:
    """A primary a and its replicas b and c."""
    binary = binary_of(request.param)
    with (
        RedisServer(server_dir / "a", binary=binary) as a,
        RedisServer(server_dir / "b", replica_of=a, binary=binary) as b,
        RedisServer(server_dir / "c", replica_of=a, binary=binary) as c,
    ):
        in_step(a, b, c)
        yield a, b, c


def refused(store: Datastore, words: str) -> None:
    """Assert that plan and action refuse without `force`."""
    plan = store.plan_promote(PromoteRequest())
    assert plan.would is Would.REFUSE and words in plan.summary, plan
    with pytest.raises(DatastoreRefused) as raised:
        store.promote(Stop(), PromoteRequest())
    assert words in str(raised.value) and store.role().name == "replica"
    assert store.plan_promote(PromoteRequest(force=True)).would is Would.CHANGE


def link_is_down(server: RedisServer) -> None:
    await_that(lambda: "master_link_status:down" in server.cli("info", "replication"), 10, "the link is down")


def test_promotion_of_a_cascaded_replica_is_refused_while_its_source_receives(servers: Servers) -> None:
    a, b, c = servers
    c.cli("replicaof", "127.0.0.1", str(b.port))
    in_step(a, b, c)
    store = store_of(c)
    refused(store, f"receives from 127.0.0.1:{a.port}, which may accept writes")
    a.kill()
    link_is_down(b)
    assert store.plan_promote(PromoteRequest()).would is Would.CHANGE


def test_promotion_is_refused_while_another_configured_server_takes_writes_or_has_more(servers: Servers) -> None:
    a, b, c = servers
    b.cli("replicaof", "127.0.0.1", "1")
    write(a, 100)
    in_step(a, c)
    refused(store_of(b, peers={"a": a}), f"127.0.0.1:{a.port} accepts writes")
    a.kill()
    link_is_down(c)
    refused(store_of(b, peers={"a": a, "c": c}), "bytes of writes that this server lacks")
    assert store_of(c, peers={"a": a, "b": b}).plan_promote(PromoteRequest()).would is Would.CHANGE


def test_replica_that_started_empty_and_never_received_is_not_promoted(servers: Servers) -> None:
    a, b, _ = servers
    write(a, 10)
    in_step(a, b)
    a.kill()
    b.kill()
    for data in [*b.dir.rglob("*.rdb"), *b.dir.rglob("*.aof"), *b.dir.rglob("*.manifest")]:
        data.unlink()
    b.start()
    refused(store_of(b), "has received nothing from its primary since it started")
