"""The service kinds with a real Redis: they reach the requested state, report it, and fail with the reason."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.kinds.base import Done, Failed, Kind, Running
from agent.kinds.replicante_service import GracefulRestart, GracefulStop, Restart, StartService, StopService
from tests.agent_process import AgentProcess
from tests.kinds.configuring import over, settings, toml
from tests.kinds.performing import perform, step_of
from tests.servers.process import await_that, is_alive
from tests.servers.redis import RedisServer

RUNNING, NOT_RUNNING = "the service is running", "the service is not running"
StartAgent = Callable[..., AgentProcess]


def service(attempt: int, message: str, pid: str | None) -> dict[str, Any]:
    return {"attempt": attempt, "message": message, "pid": pid}


def background(script: str) -> list[str]:
    """A command that leaves the script running and returns at once."""
    return ["sh", "-c", f"({script}) >/dev/null 2>&1 </dev/null &"]


# Without an agent


def test_stop_ends_the_datastore_and_start_starts_it(redis_server: RedisServer) -> None:
    start, stop = (kind(settings(over(redis_server))) for kind in (StartService, StopService))
    assert perform(stop) == [Done(service(0, NOT_RUNNING, None), NOT_RUNNING)]
    assert redis_server.pid is None
    assert perform(start) == [Done(service(0, RUNNING, str(redis_server.pid)), RUNNING)]


def test_reached_state_needs_no_command(redis_server: RedisServer) -> None:
    document = over(redis_server, start=["false"], stop=["false"])
    start, stop = (kind(settings(document)) for kind in (StartService, StopService))
    assert perform(start) == [Done(service(0, RUNNING, str(redis_server.pid)), RUNNING)]
    redis_server.stop()
    assert perform(stop) == [Done(service(0, NOT_RUNNING, None), NOT_RUNNING)]


def test_a_restart_gives_another_process(redis_server: RedisServer) -> None:
    before = str(redis_server.pid)
    stopped, started = perform(Restart(settings(over(redis_server))))
    assert stopped == Running({"stage": 0, "state": "DONE", "payload": service(0, NOT_RUNNING, None)})
    pid = str(redis_server.pid)
    assert pid != before
    assert started == Done({"stage": 1, "state": "DONE", "payload": service(0, RUNNING, pid)}, RUNNING)


def test_slow_service_is_polled_and_started_once(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    starts = tmp_path / "starts"
    slowly = f"echo start >> {starts}; sleep 0.8; exec {shlex.join(redis_server.start_command)}"
    kind = StartService(settings(over(redis_server, start=background(slowly))))
    *before, last = perform(kind)
    assert [outcome.payload["attempt"] for outcome in before] == list(range(len(before)))
    assert len(before) > 2 and all(each.after <= 0.1 for each in before if isinstance(each, Running))
    assert before[0].payload["message"].startswith(NOT_RUNNING) and before[0].payload["pid"] is None
    assert last == Done(service(len(before), RUNNING, str(redis_server.pid)), RUNNING)
    assert starts.read_text() == "start\n"


def test_slow_stop_shows_the_remaining_pid(redis_server: RedisServer) -> None:
    pid = str(redis_server.pid)
    slowly = f"sleep 0.8; exec {shlex.join(redis_server.stop_command)}"
    first, *_, last = perform(StopService(settings(over(redis_server, stop=background(slowly)))))
    assert first.payload == service(0, f"the service has not stopped: pid {pid}", pid)
    assert last.payload["message"] == NOT_RUNNING and last.payload["pid"] is None


def test_service_that_does_not_come_up_fails_with_the_tried_command(redis_server: RedisServer) -> None:
    redis_server.stop()
    idle = ["sh", "-c", "true # pretend"]
    *before, last = perform(StartService(settings(over(redis_server, start=idle, attempts=3))))
    assert [each.payload["attempt"] for each in before] == [0, 1, 2]
    assert isinstance(last, Failed) and last.payload == service(3, last.message, None)
    for part in (shlex.join(idle), "got the request to start", "3 checks over 0.3 s", "pid_of.sh", "exit status 1"):
        assert part in last.message, last.message


def test_a_service_that_dies_at_once_has_not_started(redis_server: RedisServer, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    commands = {
        "start": background(f"sleep 0.1 & echo $! > {pidfile}; wait"),
        "pid": ["sh", "-c", f"pid=$(cat {pidfile}) && kill -0 $pid && echo $pid"],
    }
    *_, last = perform(StartService(settings(over(redis_server, attempts=1, **commands))))
    assert isinstance(last, Failed) and NOT_RUNNING in last.message


def test_a_service_that_does_not_stop_fails_with_its_pid(redis_server: RedisServer) -> None:
    *_, last = perform(StopService(settings(over(redis_server, stop=["true"], attempts=2))))
    assert isinstance(last, Failed) and last.payload["pid"] == str(redis_server.pid)
    assert "got the request to stop, but after 2 checks over 0.2 s the service has not stopped" in last.message


def test_failed_command_is_reported_with_its_output(redis_server: RedisServer) -> None:
    redis_server.stop()
    refusing = ["sh", "-c", "echo no room left >&2; exit 3"]
    outcomes = perform(StartService(settings(over(redis_server, start=refusing))))
    message = f"{shlex.join(refusing)} failed with exit status 3: no room left"
    assert outcomes == [Failed(service(0, message, None), message)]


def test_restart_with_a_finished_stop_does_not_stop_again(redis_server: RedisServer) -> None:
    kind, pid = Restart(settings(over(redis_server))), str(redis_server.pid)
    left = {"stage": 0, "state": "DONE", "payload": service(0, NOT_RUNNING, None)}
    outcome = kind.resume(step_of(kind, left))
    assert outcome == Done({"stage": 1, "state": "DONE", "payload": service(0, RUNNING, pid)}, RUNNING)
    assert str(redis_server.pid) == pid


@pytest.mark.parametrize("kind", [StartService, StopService])
def test_interrupted_step_checks_the_state_and_continues(kind: type[Kind], redis_server: RedisServer) -> None:
    if kind is StartService:
        redis_server.stop()
    for left in (None, service(4, NOT_RUNNING, None)):
        interrupted = kind(settings(over(redis_server)))
        outcome = interrupted.resume(step_of(interrupted, left))
        assert isinstance(outcome, Done) and outcome.payload["attempt"] == (left["attempt"] + 1 if left else 0)


# Through an agent


def test_a_graceful_restart_has_the_history_of_the_protocol(redis_server: RedisServer, start_agent: StartAgent) -> None:
    redis_server.cli("set", "kept", "1")
    before = str(redis_server.pid)
    agent = start_agent(config=toml(over(redis_server)))
    info = agent.await_final(agent.schedule("replicante.service.gracefulrestart", {}))

    stages = [(each["state"], each["state_payload"]) for each in info["history"] if each["state_payload"]]
    message = stages[-1][1]["payload"].pop("message")
    pid = str(redis_server.pid)
    assert stages == [
        ("DONE", {"stage": 2, "state": "DONE", "payload": service(0, RUNNING, pid)}),
        ("RUNNING", {"stage": 1, "state": "DONE", "payload": service(0, NOT_RUNNING, None)}),
        ("RUNNING", {"stage": 0, "state": "DONE", "payload": {}}),
    ]
    assert pid != before and f"(pid {before}) has shut down" in message
    assert info["action"]["state_payload"] == stages[0][1]
    assert info["history"][-1]["state"] == "NEW" and info["history"][-1]["state_payload"] is None
    await_that(redis_server.answers)
    assert redis_server.cli("get", "kept") == "1"


def test_graceful_stop_leaves_the_service_down(redis_server: RedisServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(over(redis_server)))
    action = agent.await_final(agent.schedule("replicante.service.gracefulstop", {}))["action"]
    assert (action["state"], action["state_payload"]["stage"]) == ("DONE", 1)
    assert redis_server.pid is None


def test_a_datastore_that_refuses_to_shut_down_is_not_stopped(redis_server: RedisServer) -> None:
    redis_server.cli("acl", "setuser", "weak", "on", ">pw", "+@all", "-shutdown")
    document = over(redis_server)
    document["datastore"]["url"] = f"unix://weak:pw@{redis_server.socket}"
    outcomes = perform(GracefulStop(settings(document)))
    assert isinstance(outcomes[-1], Failed) and outcomes[-1].payload["state"] == "FAILED" and len(outcomes) == 1
    assert re.match(r"stage 1 of 2, replicante.store.stop: .*shutdown", outcomes[-1].message)
    assert redis_server.pid is not None


def test_a_service_that_does_not_come_up_fails_the_action(redis_server: RedisServer, start_agent: StartAgent) -> None:
    document = over(redis_server, start=["true"], attempts=2)
    agent = start_agent(config=toml(document))
    info = agent.await_final(agent.schedule("replicante.service.restart", {}))
    assert info["action"]["state"] == "FAILED"
    assert {**info["action"]["state_payload"], "payload": None} == {"stage": 1, "state": "FAILED", "payload": None}
    assert "after 2 checks" in info["action"]["state_payload"]["payload"]["message"]


def test_a_cancelled_start_ends_its_command(redis_server: RedisServer, start_agent: StartAgent, tmp_path: Path) -> None:
    redis_server.stop()
    started = tmp_path / "started"
    hanging = ["sh", "-c", f"echo $$ > {started}; exec sleep 1000"]
    agent = start_agent(config=toml(over(redis_server, start=hanging)))
    action_id = agent.schedule("replicante.service.start", {})
    pid = int(await_that(lambda: started.exists() and started.read_text()))
    assert is_alive(pid) and agent.cancel(action_id).status == 200
    assert agent.await_final(action_id)["action"]["state_payload"]["cancelled"] is True
    assert not is_alive(pid)


def test_restart_interrupted_in_its_start_continues_with_the_start(
    redis_server: RedisServer, start_agent: StartAgent, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    start = f"echo start $$ >> {calls}; [ $(grep -c start {calls}) -gt 1 ] || exec sleep 1000; exec {{0}}"
    document = over(
        redis_server,
        start=["sh", "-c", start.format(shlex.join(redis_server.start_command))],
        stop=["sh", "-c", f"echo stop >> {calls}; exec {shlex.join(redis_server.stop_command)}"],
    )
    agent = start_agent(config=toml(document))
    action_id = agent.schedule("replicante.service.restart", {})
    hanging = int(await_that(lambda: calls.exists() and calls.read_text().partition("start ")[2]))
    agent.kill_all()
    agent.start()
    action = agent.await_final(action_id)["action"]
    assert (action["state"], action["state_payload"]["stage"]) == ("DONE", 1)
    assert action["state_payload"]["payload"]["pid"] == str(redis_server.pid)
    assert [line.split()[0] for line in calls.read_text().splitlines()] == ["stop", "start", "start"]
    assert not is_alive(hanging)


def test_unconfigured_kinds_name_the_missing_table(agent: AgentProcess) -> None:
    for kind in (StartService, StopService, Restart, GracefulStop, GracefulRestart):
        answer = agent.post_schedule(kind.name, {})
        assert answer.status == 404 and "set [service] in the configuration" in answer.json["error"]


def test_the_graceful_kinds_need_the_datastore_too(redis_server: RedisServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml({"service": over(redis_server)["service"]}))
    for kind in (GracefulStop, GracefulRestart):
        answer = agent.post_schedule(kind.name, {})
        assert answer.status == 404 and "set [datastore] in the configuration" in answer.json["error"]
    assert agent.post_schedule(StartService.name, {}).status == 200
