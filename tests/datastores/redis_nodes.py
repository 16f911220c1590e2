"""Several real Redis servers, and their drivers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from agent.datastores.base import Datastore
from agent.datastores.replication_requests import ResyncRequest
from tests.datastores.reports import into, nowhere
from tests.datastores.test_redis import at
from tests.servers.process import await_that
from tests.servers.redis import RedisServer

KEPT = {"kept_in": "the configuration file"}


def store_of(
    server: RedisServer,
    primary: RedisServer | None = None,
    *,
    peers: Mapping[str, Any] | None = None,
    **more: Any,
) -> Datastore:
    """The datastore of a server; `primary` is `datastore.primary`, `peers` are its peers: servers, or tables."""
    options: dict[str, Any] = {"primary": f"redis://127.0.0.1:{primary.port}"} if primary else {}
    if peers:
        options["peers"] = {name: _table(each) for name, each in peers.items()}
    url = more.pop("url", f"unix://{server.socket}")
    return at(url, **options | more)


def _table(peer: Any) -> Any:
    return {"url": f"redis://127.0.0.1:{peer.port}"} if isinstance(peer, RedisServer) else peer


def resync(store: Datastore, **request: Any) -> tuple[Any, list[str]]:
    """The result of a resync and its reported phases."""
    phases: list[str] = []
    return store.resync(None, into(phases), ResyncRequest(**request)), phases


def resync_with(store: Datastore, service: Any = None, **request: Any) -> Any:
    return store.resync(service, nowhere(), ResyncRequest(**request))


def in_step(primary: RedisServer, *replicas: RedisServer) -> None:
    """Await that the replicas have all that the primary has."""
    for replica in replicas:
        replica.await_replica()
    last = secrets.token_hex(8)
    primary.cli("set", "in-step", last)
    # WAIT works only on the connection of the write.
    await_that(lambda: {each.cli("get", "in-step") for each in replicas} == {last}, 10, "the last write everywhere")


def write(server: RedisServer, keys: int, prefix: str = "k", size: int = 1) -> None:
    """Set that many keys of that many bytes."""
    script = f"for i = 1, {keys} do redis.call('set', '{prefix}' .. i, string.rep('x', {size})) end"
    server.cli("eval", script, "0")


def diverge(replica: RedisServer) -> None:
    """Write to a replica what its primary does not have."""
    replica.cli("config", "set", "replica-read-only", "no")
    replica.cli("set", "diverged", "1")


def slow_to_send(primary: RedisServer, seconds: float = 3) -> None:
    """Make the primary take that long for a full copy."""
    write(primary, 30, prefix="slow")
    primary.cli("config", "set", "rdb-key-save-delay", str(int(seconds / 30 * 1e6)))  # microseconds


def settings_of(server: RedisServer) -> dict[str, str]:
    """The settings that a rollback must restore."""
    names = ("masteruser", "masterauth", "tls-replication", "repl-diskless-load")
    found = [server.cli("config", "get", name).split("\n") for name in names]
    return {each[0]: each[1] if len(each) > 1 else "" for each in found}


def followed_by(server: RedisServer) -> str:
    """The role of a server and its source, from its own INFO."""
    lines = server.cli("info", "replication").splitlines()
    found = dict(line.strip().split(":", 1) for line in lines if ":" in line)
    return f"{found['role']} {found.get('master_host', '')}:{found.get('master_port', '')}".strip()


def await_link(server: RedisServer) -> None:
    await_that(lambda: "master_link_status:up" in server.cli("info", "replication"), 10, "the link of the replica")


def settle(primary: RedisServer) -> None:
    """Await that the primary saves nothing any more, so that it ends at once."""
    primary.cli("config", "set", "rdb-key-save-delay", "0")
    await_that(lambda: "rdb_bgsave_in_progress:0" in primary.cli("info", "persistence"))
