"""The Docker Engine of the tests is real: it runs, pauses and restarts containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.docker import DockerEngine
from tests.servers.leftovers import left_in
from tests.servers.process import is_alive, run


def state_of(engine: DockerEngine, container: str, what: str = "Status") -> str:
    return engine.cli("inspect", "--format", f"{{{{.State.{what}}}}}", container)


def test_a_container_runs_pauses_and_restarts(docker_engine: DockerEngine) -> None:
    docker_engine.run_container("c1")
    assert docker_engine.cli("exec", "c1", "echo", "inside") == "inside"
    docker_engine.cli("pause", "c1")
    assert state_of(docker_engine, "c1") == "paused"
    docker_engine.cli("unpause", "c1")
    before = state_of(docker_engine, "c1", "Pid")
    docker_engine.cli("restart", "c1")
    assert state_of(docker_engine, "c1") == "running"
    assert state_of(docker_engine, "c1", "Pid") != before
    with pytest.raises(RuntimeError, match="No such container"):
        docker_engine.cli("restart", "nobody")


def test_docker_restarts_after_a_kill_and_leaves_no_container_or_mount(server_dir: Path) -> None:
    engine = DockerEngine(server_dir / "d").start()
    try:
        engine.import_busybox()
        engine.run_container("kept")
        container = int(state_of(engine, "kept", "Pid"))
        engine.kill()
        engine.start()
        assert run(engine.pid_command).strip() == str(engine.pid)
        assert engine.cli("ps", "--all", "--format", "{{.Names}}") == "kept"
    finally:
        engine.close()
    assert not engine.dir.exists() and left_in(str(server_dir)) == []
    assert not is_alive(container)
