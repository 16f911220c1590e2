"""The supervisor `commands`: the state of the service and its failures, by configured commands."""

from __future__ import annotations

from typing import Any

import pytest

from agent import config, supervisors
from agent.supervisors.base import Status, Supervisor, SupervisorFailed
from agent.supervisors.commands import Commands
from agent.util.stop import Stop
from tests.servers.process import await_that
from tests.servers.redis import RedisServer


def over(**commands: Any) -> Supervisor:
    idle = {"supervisor": "commands", "pid": ["true"], "start": ["true"], "stop": ["true"], "timeout": 5}
    parsed = config.parse({"service": idle | commands})
    assert parsed.service
    supervisor = supervisors.of(parsed.service)
    assert isinstance(supervisor, Commands)
    return supervisor


def test_a_real_server_is_started_seen_and_stopped(redis_server: RedisServer) -> None:
    supervisor = over(pid=redis_server.pid_command, start=redis_server.start_command, stop=redis_server.stop_command)
    pid = str(redis_server.pid)
    assert supervisor.status(Stop()) == Status(running=True, stopped=False, pid=pid, message=f"pid {pid}")
    supervisor.stop(Stop())
    status = supervisor.status(Stop())
    assert (status.running, status.stopped, status.pid) == (False, True, None)
    supervisor.start(Stop())
    await_that(lambda: supervisor.status(Stop()).running)
    assert supervisor.status(Stop()).pid == str(redis_server.pid)


@pytest.mark.parametrize("script", ["exit 1", "true", "echo 12; exit 1", "echo '  '"])
def test_no_pid_or_a_failure_is_not_running(script: str) -> None:
    status = over(pid=["sh", "-c", script]).status(Stop())
    assert (status.running, status.stopped, status.pid) == (False, True, None)


def test_first_of_several_pids_is_the_main_pid() -> None:
    assert over(pid=["echo", "12 13"]).status(Stop()).pid == "12"


@pytest.mark.parametrize(
    "pid, message",
    [
        (["echo", "redis is running"], "printed 'redis' instead of a pid"),
        (["/no/such/program"], "/no/such/program was not found"),
        (["sleep", "1000"], "sleep 1000 took too long and was ended"),
        (["sh", "-c", "kill -9 $$"], "was killed by SIGKILL"),
    ],
)
def test_output_without_a_pid_is_a_failure(pid: list[str], message: str) -> None:
    with pytest.raises(SupervisorFailed, match=message):
        over(pid=pid, timeout=0.3).status(Stop())


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_failing_command_is_reported_with_its_last_output(verb: str) -> None:
    argv = ["sh", "-c", "echo the disk is full >&2; exit 4"]
    with pytest.raises(SupervisorFailed, match="failed with exit status 4: the disk is full"):
        getattr(over(**{verb: argv}), verb)(Stop())


def test_stop_ends_the_running_command() -> None:
    stop = Stop()
    stop.request("cancelled")
    with pytest.raises(SupervisorFailed, match="was ended: cancelled"):
        over(start=["sleep", "1000"]).start(stop)
