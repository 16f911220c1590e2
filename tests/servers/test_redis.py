"""The Redis of the tests is real: it keeps data, replicates, asks for its password."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.process import await_that, run
from tests.servers.redis import RedisServer


def test_a_write_survives_kill_and_start(redis_server: RedisServer) -> None:
    redis_server.cli("set", "k", "1")
    assert redis_server.cli("config", "get", "appendonly").split() == ["appendonly", "yes"]
    await_that(lambda: "aof_pending_bio_fsync:0" in redis_server.cli("info", "persistence"))
    redis_server.kill()
    assert redis_server.pid is None and redis_server.pidfile.exists()
    redis_server.start()
    assert redis_server.cli("get", "k") == "1"


def test_a_replica_follows_and_can_be_promoted(redis_server: RedisServer, server_dir: Path) -> None:
    with RedisServer(server_dir / "b", replica_of=redis_server) as replica:
        replica.await_replica()
        redis_server.cli("set", "k", "2")
        await_that(lambda: replica.cli("get", "k") == "2", 5, "the write on the replica")
        with pytest.raises(RuntimeError, match="READONLY"):
            replica.cli("set", "k", "3")
        replica.cli("replicaof", "no", "one")
        assert replica.cli("set", "k", "3") == "OK"


def test_login_needs_the_password(server_dir: Path) -> None:
    with RedisServer(server_dir / "a", password="correct-horse", appendonly=False) as server:
        assert server.cli("set", "k", "1") == "OK"
        assert "correct-horse" in server.url
        server.password = None
        with pytest.raises(RuntimeError, match="NOAUTH"):
            server.cli("get", "k")


def test_redis_can_be_driven_by_commands_alone(server_dir: Path) -> None:
    with RedisServer(server_dir / "a") as server:
        assert run(server.pid_command).strip() == str(server.pid)
        run(server.stop_command)
        assert subprocess.run(server.pid_command, capture_output=True).returncode == 1
        run(server.stop_command)
        run(server.start_command)
        await_that(server.answers)
        assert run(server.pid_command).strip() == str(server.pid)
