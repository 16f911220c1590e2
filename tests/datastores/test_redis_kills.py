"""Kills of the agent and the job of a resync at chosen moments: Redis ends correctly, or the failure is reported."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.held import Held
from tests.datastores.redis_nodes import followed_by, settings_of, settle, slow_to_send
from tests.kinds.configuring import over, toml
from tests.servers.leftovers import processes_using
from tests.servers.process import await_that
from tests.servers.redis import RedisServer

USER = {"name": "app", "password": "battery-staple", "databases": ["app"]}


def agent_of(server: RedisServer, start_agent: StartAgent, primary: RedisServer | None = None) -> AgentProcess:
    """An agent that connects to its server through a proxy that a test can hold."""
    document = over(server)
    document["datastore"] |= {"url": f"unix://{way_to(server)}", "timeout": 5}
    if primary is not None:
        document["datastore"]["primary"] = f"redis://127.0.0.1:{primary.port}"
    return start_agent(config=toml(document))


def way_to(server: RedisServer) -> Path:
    return server.dir / "held.sock"


def killed_at(agent: AgentProcess, server: RedisServer, kind: str, args: Any, word: bytes, answered: bool) -> Any:
    """The final state of an action whose agent was killed at this request and started again."""
    with Held(way_to(server), server.socket, word, answered=answered) as held:
        action = agent.schedule(kind, args)
        assert held.reached.wait(10)
        agent.kill_all()
        held.release()
        agent.start()
        return agent.await_final(action, timeout=30)["action"]


@pytest.mark.parametrize("word, answered", [(b"SETUSER", False), (b"SETUSER", True), (b"REWRITE", False)])
def test_user_is_persisted_despite_a_kill_of_the_agent(
    word: bytes, answered: bool, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    agent = agent_of(redis_server, start_agent)
    action = killed_at(agent, redis_server, "database_user_create", USER, word, answered)
    assert action["state"] == "DONE" and "staple" not in str(action) + agent.whole_log()
    redis_server.stop()
    redis_server.start()
    assert "app" in redis_server.cli("acl", "users").split()


def test_deletion_of_a_user_is_persisted_despite_a_kill_of_the_agent(
    redis_server: RedisServer, start_agent: StartAgent
) -> None:
    redis_server.cli("acl", "setuser", "app", "on", ">pw")
    redis_server.cli("config", "rewrite")
    agent = agent_of(redis_server, start_agent)
    assert killed_at(agent, redis_server, "database_user_delete", {"name": "app"}, b"DELUSER", True)["state"] == "DONE"
    redis_server.stop()
    redis_server.start()
    assert redis_server.cli("acl", "users") == "default"


@pytest.fixture
def old_primary(redis_server: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    """A server with own data that must follow the other one."""
    redis_server.cli("set", "k", "right")
    with RedisServer(server_dir / "old") as server:
        server.cli("set", "k", "diverged")
        yield server


@pytest.mark.parametrize("word, answered", [(b"REPLICAOF", False), (b"REPLICAOF", True), (b"REWRITE", True)])
def test_resync_outlives_the_agent(
    word: bytes, answered: bool, old_primary: RedisServer, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    agent = agent_of(old_primary, start_agent, redis_server)
    action = killed_at(agent, old_primary, "resync_slave_db", {"force": True}, word, answered)
    assert action["state"] == "DONE", action
    assert action["state_payload"]["method"] == "copy" and action["state_payload"]["discarded"]
    assert old_primary.cli("get", "k") == "right"
    old_primary.await_replica()
    old_primary.stop()
    old_primary.start()
    await_that(lambda: "link_status:up" in old_primary.cli("info", "replication"))


def test_resync_begun_by_a_killed_agent_is_undone_if_the_primary_dies(
    old_primary: RedisServer, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    slow_to_send(redis_server)
    before = settings_of(old_primary)
    agent = agent_of(old_primary, start_agent, redis_server)
    with Held(way_to(old_primary), old_primary.socket, b"REPLICAOF", answered=True) as held:
        action = agent.schedule("resync_slave_db", {"force": True})
        assert held.reached.wait(10)
        agent.kill_all()
        held.release()
        agent.start()
        await_report(agent)
        redis_server.kill()
        ended = agent.await_final(action, timeout=60)["action"]
    assert ended["state"] == "FAILED" and "accepts writes as before" in ended["state_payload"]["message"], ended
    assert settings_of(old_primary) == before and old_primary.cli("get", "k") == "diverged"


def test_resync_with_a_killed_agent_and_job_fails_and_can_be_repeated(
    old_primary: RedisServer, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    before = old_primary.cli("config", "get", "repl-diskless-load").split("\n")[1]
    agent = agent_of(old_primary, start_agent, redis_server)
    with Held(way_to(old_primary), old_primary.socket, b"REPLICAOF", answered=True) as held:
        action = agent.schedule("resync_slave_db", {"force": True})
        assert held.reached.wait(10)
        await_that(lambda: runners_of(agent), 10, "the job takes over")
        agent.kill_all()
        kill_jobs(agent)
        held.release()
        agent.start()
        ended = agent.await_final(action, timeout=30)["action"]
        assert ended["state"] == "FAILED" and ended["state_payload"]["dirty"] is False, ended
        again = agent.await_final(agent.schedule("resync_slave_db", {"force": True}), timeout=30)["action"]
    assert again["state"] == "DONE" and old_primary.cli("get", "k") == "right"
    assert old_primary.cli("config", "get", "repl-diskless-load").split("\n")[1] == before
    assert "swapdb" not in next(old_primary.dir.glob("*.conf")).read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_resync_ended_during_the_transfer_reports_the_state(
    number: signal.Signals, old_primary: RedisServer, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    """On SIGTERM the job restores the old source first; after SIGKILL the agent does."""
    redis_server.cli("eval", "for i = 1, 30 do redis.call('set', i, i) end", "0")
    redis_server.cli("config", "set", "rdb-key-save-delay", "100000")  # microseconds
    agent = agent_of(old_primary, start_agent, redis_server)
    with Held(way_to(old_primary), old_primary.socket, b"never"):
        action = agent.schedule("resync_slave_db", {"force": True})
        await_that(lambda: "master_sync_in_progress:1" in old_primary.cli("info", "replication"))
        await_report(agent)
        kill_jobs(agent, number)
        ended = agent.await_final(action)["action"]
        message = ended["state_payload"]["message"]
        assert ended["state"] == "FAILED"
        why = "its runner was killed" if number == signal.SIGKILL else "the job was ended by another program"
        assert message.startswith(why) and ended["state_payload"]["dirty"] is False
        await_that(lambda: "role:master" in old_primary.cli("info", "replication"), 20)
        assert old_primary.cli("get", "k") == "diverged" and old_primary.cli("set", "k", "still") == "OK"
        redis_server.cli("config", "set", "rdb-key-save-delay", "0")
        again = agent.await_final(agent.schedule("resync_slave_db", {"force": True}), timeout=30)["action"]
    assert again["state"] == "DONE" and old_primary.cli("get", "k") == "right"


@pytest.mark.parametrize("by_job", [False, True])
def test_resync_cancelled_during_the_transfer_restores_the_old_source(
    by_job: bool, old_primary: RedisServer, redis_server: RedisServer, start_agent: StartAgent
) -> None:
    """At once, and once the job continues it."""
    redis_server.cli("eval", "for i = 1, 30 do redis.call('set', i, i) end", "0")
    redis_server.cli("config", "set", "rdb-key-save-delay", "100000")  # microseconds
    agent = agent_of(old_primary, start_agent, redis_server)
    with Held(way_to(old_primary), old_primary.socket, b"never"):
        action = agent.schedule("resync_slave_db", {"force": True})
        await_that(lambda: "master_sync_in_progress:1" in old_primary.cli("info", "replication"))
        if by_job:
            await_report(agent)
        assert agent.cancel(action).status == 200
        ended = agent.await_final(action, timeout=60)["action"]
    assert ended["state"] == "FAILED" and "accepts writes as before" in str(ended["state_payload"]), ended
    assert followed_by(old_primary).startswith("master")
    assert old_primary.cli("get", "k") == "diverged" and old_primary.cli("set", "k", "still") == "OK"
    settle(redis_server)


def kill_jobs(agent: AgentProcess, number: signal.Signals = signal.SIGKILL) -> None:
    """Send this signal to the runner of a job, which ends with its children."""
    for pid in runners_of(agent):
        os.kill(pid, number)


def runners_of(agent: AgentProcess) -> list[int]:
    """The runners of its jobs."""
    using = processes_using(f"{agent.directory}/agent.db.jobs")
    return [pid for pid, words in using if "runner.py" in words]


def await_report(agent: AgentProcess) -> None:
    """Await that the job continues what the agent has begun."""
    await_that(lambda: [*Path(f"{agent.directory}/agent.db.jobs").glob("*/report")], 10, "the job reports")
