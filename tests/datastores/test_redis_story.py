"""Two Redis or Valkey servers with an agent each, over HTTP: users, a failover, a resync, a shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.redis_nodes import in_step
from tests.kinds.configuring import over, toml
from tests.servers.process import await_that
from tests.servers.redis import RedisServer, binary_of
from tests.trust.certificates import Authority

SERVER_SECRET = "server-correct-horse"
USER_SECRET = "user-battery-staple"

NOT_LOOKED_AT = ("agent.toml",)

Pair = tuple[RedisServer, RedisServer]


@pytest.fixture(params=["redis over TLS", "valkey"])
def pair(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[Pair]:
    """Redis speaks TLS to all, its replicas too; Valkey does not."""
    make, _, with_tls = request.param.partition(" over ")
    options: dict[str, Any] = {"password": SERVER_SECRET, "binary": binary_of(make)}
    if with_tls:
        authority = Authority(server_dir)
        options["tls"] = (*authority.server(), authority.ca)
    with (
        RedisServer(server_dir / "a", **options) as primary,
        RedisServer(server_dir / "b", replica_of=primary, **options) as replica,
    ):
        replica.await_replica()
        yield primary, replica


def configuration(server: RedisServer, primary: RedisServer) -> str:
    """An agent of `server` that resyncs from `primary`."""
    secret = server.dir / "secret"
    secret.write_text(SERVER_SECRET)
    document = over(server)
    document["datastore"] |= {
        "url": server.tls_url or document["datastore"]["url"],
        "password_file": str(secret),
        "primary": primary.tls_url or f"redis://127.0.0.1:{primary.port}",
        "primary_password_file": str(secret),
    }
    return toml(document)


def done(agent: AgentProcess, kind: str, args: dict[str, Any]) -> Any:
    """The final payload of an action that must succeed."""
    action = agent.await_final(agent.schedule(kind, args), timeout=30)["action"]
    assert action["state"] == "DONE", action
    return action["state_payload"]


def failed(agent: AgentProcess, kind: str, args: dict[str, Any]) -> str:
    """Why an action failed that must."""
    action = agent.await_final(agent.schedule(kind, args), timeout=30)["action"]
    assert action["state"] == "FAILED", action
    return str(action["state_payload"]["message"])


def user_of(server: RedisServer) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=str(server.socket),
        username="app",
        password=USER_SECRET,
        protocol=2,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),  # the driver tries a refused login again, for seconds
    )


def assert_no_secret(agent: AgentProcess) -> None:
    """Assert that no answer, log or file has a secret."""
    answers = [agent.info(each["id"]) for each in agent.finished()]
    files = [file for file in agent.directory.rglob("*") if file.is_file() and file.name not in NOT_LOOKED_AT]
    everything = b"".join(file.read_bytes() for file in files) + repr(answers).encode()
    assert answers and files
    for secret in (SERVER_SECRET, USER_SECRET):
        assert secret.encode() not in everything


def test_failover_resync_and_users_over_http(pair: Pair, start_agent: StartAgent) -> None:
    a, b = pair
    on_a, on_b = (start_agent(config=configuration(*each)) for each in ((a, b), (b, a)))
    user = {"name": "app", "password": USER_SECRET, "databases": ["app"], "privileges": "readwrite"}

    assert "Redis has no databases to create" in on_a.post_schedule("database_create", {"name": "app"}).json["error"]
    for agent in (on_a, on_b):
        server = {"keys": ["app:*"], "kept_in": "the configuration file"}
        assert done(agent, "database_user_create", user) == {"user": "app", "server": server}
    assert "the user app exists already" in failed(on_a, "database_user_create", user)
    assert done(on_a, "promote_slave_db", {})["role"] == "primary"
    assert "follows this server" in failed(on_a, "resync_slave_db", {"force": True})
    assert "still accepts writes" in failed(on_b, "promote_slave_db", {})
    with user_of(a) as client:
        client.set("app:k", "written on a")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("other:k", "1")
    in_step(a, b)

    a.kill()
    promoted = done(on_b, "promote_slave_db", {"server_group": "redis"})
    assert promoted["writable"] and promoted["server"]["followed"] == a.for_replicas
    with user_of(b) as client:
        assert client.get("app:k") == "written on a"
        client.set("app:k", "written on b")

    a.start()
    with user_of(a) as client:
        client.set("app:diverged", "1")
    assert "cannot be known" in failed(on_a, "resync_slave_db", {})
    resynced = done(on_a, "resync_slave_db", {"force": True})
    assert {each["unit"] for each in resynced["discarded"]} == {"keys", "bytes"} and resynced["method"] == "copy"
    assert resynced["role"] == "replica" and resynced["source"] == b.for_replicas
    assert resynced["streaming"] and not resynced["writable"]
    with user_of(a) as client:
        assert client.get("app:k") == "written on b" and client.get("app:diverged") is None
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("app:k", "1")

    assert done(on_a, "disable_replication_slave_db", {})["role"] == "primary"
    assert done(on_a, "disable_replication_slave_db", {})["server"] == {}
    assert done(on_a, "database_user_delete", {"name": "app"})["server"]["kept_in"] == "the configuration file"
    assert "there is no user app" in failed(on_a, "database_user_delete", {"name": "app"})
    with pytest.raises(redis.AuthenticationError), user_of(a) as client:
        client.ping()
    before = b.pid
    done(on_b, "replicante.service.gracefulrestart", {})
    assert b.pid not in (None, before) and b.cli("get", "app:k") == "written on b"
    done(on_a, "replicante.store.stop", {})
    await_that(lambda: a.pid is None)
    for agent in (on_a, on_b):
        assert_no_secret(agent)
