"""After a kill of the agent only the command in flight is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from agent.jobs.jobs import Jobs, RunningJob
from agent.processes.command import end_left_over
from agent.processes.process import Process
from tests.agent_process import eventually
from tests.processes.children import ended_at_the_end, killed_at_the_end, pid_in, process_in, python

AGENT = """
import sys
from agent.processes.command import run
run(["sh", "-c", sys.argv[2], "sh", sys.argv[3]], timeout=60, action=sys.argv[1], version=3)
print("ended", flush=True)
sys.stdin.read()
import time; time.sleep(60)
"""
IN_FLIGHT = 'sleep 60 & echo $! >"$1/child"; echo $$ >"$1/pid"; wait'
DAEMON_OF_A_GROUP = 'sleep 60 & echo $! >"$1/pid"'
DAEMON_OF_A_SESSION = 'setsid sh -c \'echo $$ >"$1/pid"; exec sleep 60\' sh "$1" >/dev/null 2>&1 &'


def leave(action: str, script: str, directory: Path, *, finished: bool = False) -> Process:
    """Kill an agent whose command is in flight or finished; returns the remaining process."""
    with killed_at_the_end(python(AGENT, action, script, directory)) as agent:
        left = process_in(directory / "pid")
        if finished:
            assert agent.stdout is not None and agent.stdout.readline() == "ended\n"
    assert left.alive
    return left


def test_the_command_in_flight_is_ended_with_its_group(tmp_path: Path) -> None:
    left = leave("a1", IN_FLIGHT, tmp_path)
    child = process_in(tmp_path / "child")
    with ended_at_the_end(left, child):
        assert end_left_over("a2") == [] and left.alive
        assert end_left_over("a1") == [left.pid]
        assert not left.alive and not child.alive
        assert end_left_over("a1") == []


def test_a_left_over_command_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    left = leave("a1", 'trap "" TERM; ' + IN_FLIGHT, tmp_path)
    with ended_at_the_end(left, process_in(tmp_path / "child")):
        began = time.monotonic()
        assert end_left_over("a1", grace=0.3) == [left.pid]
        assert 0.3 <= time.monotonic() - began < 60
        assert not left.alive and not process_in_or_none(tmp_path / "child")


def process_in_or_none(file: Path) -> bool:
    process = Process.of(pid_in(file))
    return process is not None and process.alive


def test_children_of_a_command_that_died_with_the_agent_are_ended(tmp_path: Path) -> None:
    left = leave("a1", IN_FLIGHT, tmp_path)
    child = process_in(tmp_path / "child")
    with ended_at_the_end(left, child):
        left.signal(signal.SIGKILL)  # as SIGPIPE does to one that prints
        eventually(lambda: not left.alive, "it has gone")
        assert end_left_over("a1") == [] == end_left_over("a1", 2) and child.alive, "it may be of another step"
        assert end_left_over("a1", 3) == [left.pid]
        assert not child.alive


def test_daemon_in_its_own_session_is_not_ended(tmp_path: Path) -> None:
    daemon = leave("a1", DAEMON_OF_A_SESSION, tmp_path, finished=True)
    with ended_at_the_end(daemon):
        assert end_left_over("a1", 3) == []
        assert daemon.alive


@pytest.mark.parametrize("script", [DAEMON_OF_A_GROUP, DAEMON_OF_A_SESSION])
def test_the_daemon_of_a_finished_command_is_left_alone(script: str, tmp_path: Path) -> None:
    daemon = leave("a1", script, tmp_path, finished=True)
    with ended_at_the_end(daemon):
        assert b"AGENT_ACTION=a1" in Path(f"/proc/{daemon.pid}/environ").read_bytes()
        assert end_left_over("a1") == []
        assert daemon.alive


def test_a_daemon_that_detached_itself_outlives_the_command_in_flight(tmp_path: Path) -> None:
    (tmp_path / "daemon").mkdir()
    daemon_too = DAEMON_OF_A_SESSION.replace("$1/pid", "$1/daemon/pid") + "\n" + IN_FLIGHT
    left = leave("a1", daemon_too, tmp_path)
    daemon = process_in(tmp_path / "daemon" / "pid")
    with ended_at_the_end(left, daemon, process_in(tmp_path / "child")):
        assert end_left_over("a1") == [left.pid]
        assert not left.alive and daemon.alive


def test_job_is_never_ended_as_a_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_ACTION", "a1")
    job = Jobs(tmp_path / "jobs").start("a1", ["sleep", "60"])
    status = job.look()
    try:
        assert isinstance(status, RunningJob)
        eventually(lambda: (job.directory / "command").exists(), "the start of the command")
        assert end_left_over("a1") == []
        assert isinstance(job.look(), RunningJob)
    finally:
        job.end(1)


def test_the_processes_of_another_user_are_left_alone() -> None:
    env = {"AGENT_ACTION": "a1", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "60"], process_group=0, user=65534, env=env) as other:
        try:
            eventually(
                lambda: b"AGENT_ACTION" in Path(f"/proc/{other.pid}/environ").read_bytes(),
                "its start",
            )
            assert end_left_over("a1") == [] and other.poll() is None
        finally:
            other.kill()


def test_agent_itself_is_never_ended_as_a_left_over(tmp_path: Path) -> None:
    script = "from agent.processes.command import end_left_over as end; print(end('a1'))"
    env = dict(os.environ, AGENT_ACTION="a1")
    with killed_at_the_end(python(f"import os; os.setpgid(0, 0); {script}", env=env)) as process:
        assert process.communicate(timeout=10)[0] == "[]\n"
