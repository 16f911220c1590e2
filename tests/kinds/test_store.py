"""store.stop shuts the datastore down by its own command; a datastore that is down already is no failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Settings
from agent.datastores.redis.datastore import RedisDatastore
from agent.kinds import replicante_store
from agent.kinds.base import Done, Failed, NotOffered
from agent.kinds.replicante_store import StopStore
from tests.agent_process import AgentProcess
from tests.kinds.configuring import over, settings, toml
from tests.kinds.performing import perform, step_of
from tests.servers.process import await_that
from tests.servers.redis import RedisServer

StartAgent = Callable[..., AgentProcess]


def test_store_stop_shuts_the_datastore_down_with_its_data_saved(redis_server: RedisServer) -> None:
    redis_server.cli("set", "kept", "1")
    kind, pid = StopStore(settings(over(redis_server))), redis_server.pid
    message = f"Redis at unix://{redis_server.socket} (pid {pid}) has shut down"
    assert perform(kind) == [Done({"message": message}, message)]
    await_that(lambda: redis_server.pid is None, 1, "the end of the process")
    message = f"the datastore is down already: nothing listens at unix://{redis_server.socket}"
    assert perform(kind) == [Done({"message": message}, message)]
    redis_server.start()
    assert redis_server.cli("get", "kept") == "1"


def test_interrupted_stop_checks_the_state_and_continues(redis_server: RedisServer) -> None:
    kind = StopStore(settings(over(redis_server)))
    assert isinstance(kind.resume(step_of(kind)), Done)
    await_that(lambda: redis_server.pid is None, 1, "the end of the process")
    assert isinstance(kind.resume(step_of(kind)), Done)


def test_store_stop_fails_if_the_service_runs_at_another_address(
    redis_server: RedisServer, server_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicante_store, "LOOKS_FOR", 0.1)
    document = over(redis_server)
    document["datastore"]["url"] = f"unix://{server_dir}/elsewhere.sock"
    *looks, outcome = perform(StopStore(settings(document)))
    why = f"nothing listens at unix://{server_dir}/elsewhere.sock, but its service is running"
    # The payload stays the same, so that repeated checks are not in the history.
    first = looks[0].payload
    assert first == {"message": why, "since": first["since"]}
    assert all(look.payload == first for look in looks)
    assert outcome == Failed({"message": why}, f"{why}: check datastore.url")
    assert redis_server.pid is not None


def test_refusal_is_reported_with_the_message_of_the_server_without_the_password(server_dir: Path) -> None:
    (server_dir / "password").write_text("wrong-horse\n")
    with RedisServer(server_dir / "redis", password="correct-horse") as server:
        document = over(server)
        document["datastore"]["password_file"] = str(server_dir / "password")
        [outcome] = perform(StopStore(settings(document)))
        assert isinstance(outcome, Failed) and outcome.payload == {"message": outcome.message}
        assert "invalid username-password pair" in outcome.message and "horse" not in outcome.message
        assert server.pid is not None


def test_password_of_the_file_is_in_no_answer_log_or_database(server_dir: Path, start_agent: StartAgent) -> None:
    (server_dir / "password").write_text("correct-horse\n")
    with RedisServer(server_dir / "redis", password="correct-horse") as server:
        document = over(server)
        document["datastore"]["password_file"] = str(server_dir / "password")
        agent = start_agent(config=toml(document))
        info = agent.await_final(agent.schedule("replicante.store.stop", {}))
        assert info["action"]["state"] == "DONE"
        assert "horse" not in str(info) + agent.whole_log()
        assert b"horse" not in b"".join(file.read_bytes() for file in agent.directory.glob("agent.db*"))


def test_store_stop_is_not_offered_without_a_datastore_or_its_driver(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotOffered, match=r"set \[datastore\] in the configuration"):
        list(StopStore.offered(Settings()))
    monkeypatch.setattr(RedisDatastore, "driver", "a_driver_that_nobody_installed")
    with pytest.raises(NotOffered, match=r"install the agent with its extra \[redis\]"):
        list(StopStore.offered(settings(over(redis_server))))
