"""Containers of a real Docker Engine and a real podman are restarted, each once."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.config.host import Containers
from agent.containers import container_events as changes_module, container_target, engine as engine_module
from agent.containers.container_events import ContainerEvents
from agent.containers.engine import ContainerEngine, EngineFailed, EngineLost, EngineUnclear
from agent.errors import ConfigError
from agent.kinds.base import Done, Failed, Running
from agent.kinds.base.registry import discover
from agent.kinds.container_restart import ContainerRestart, ContainerResult
from agent.util.stop import Stop
from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.datastores.held import Held
from tests.kinds.configuring import settings, toml
from tests.kinds.conftest import Drive
from tests.kinds.engines import await_starts, done, driving, failure, run, status
from tests.kinds.performing import perform as perform_steps, step_of
from tests.kinds.wires import perform
from tests.servers.docker import DockerEngine
from tests.servers.podman import PodmanEngine

KIND = "container_restart"
PATIENT = 60.0
"""Seconds that a wait without an event would take."""


@pytest.fixture
def driver(engine: DockerEngine, driver_of: Drive) -> AgentProcess:
    return driver_of(engine)


def test_container_is_restarted_by_name_and_by_id(engine: DockerEngine, driver: AgentProcess) -> None:
    id = run(engine, "shop")
    result = done(driver, KIND, {"container": "shop"})
    assert ContainerResult().validate(result) == {}
    assert (result["container"], result["id"], result["state"]) == ("shop", id, "running")
    await_starts(engine, {"shop": 2})
    done(driver, KIND, {"container": id})
    action = perform(driver, "async actions", KIND, container_id=id[:12])
    assert action["finished_message"] == "the container shop was restarted"
    assert action["resource_type"] == "Container"
    await_starts(engine, {"shop": 4})


def test_restart_starts_a_stopped_container_and_unpauses_a_paused_one(
    engine: DockerEngine, driver: AgentProcess
) -> None:
    run(engine, "stopped")
    engine.cli("stop", "stopped")
    run(engine, "frozen")
    engine.cli("pause", "frozen")
    done(driver, KIND, {"container": "stopped"})
    done(driver, KIND, {"container": "frozen"})
    assert [status(engine, name) for name in ("stopped", "frozen")] == ["running", "running"]
    await_starts(engine, {"stopped": 2, "frozen": 2})


def test_container_that_exits_after_its_restart_is_reported_with_its_exit_code(
    engine: DockerEngine, driver: AgentProcess
) -> None:
    run(engine, "brief", does="test -e /again && exit 3; echo > /again; ")
    why = failure(driver, KIND, {"container": "brief"})
    assert re.fullmatch(r"the container brief was restarted and has exited: \w+ with exit code 3", why)


def test_missing_container_is_reported(driver: AgentProcess) -> None:
    assert failure(driver, KIND, {"container": "nobody"}) == "there is no container nobody"
    action = perform(driver, "async actions", KIND, container="nobody")
    assert (action["finished_success"], action["finished_message"]) == (False, "there is no container nobody")


def test_short_prefix_of_an_id_is_not_accepted(docker: DockerEngine) -> None:
    id = docker.cli("create", "busybox:1", "true")
    kind = ContainerRestart(settings(driving(docker)))
    why = f"there is no container {id[:11]}"
    assert kind.step(step_of(kind, args={"container": id[:11]})) == Failed({"message": why}, why)


def test_engine_reports_events_of_a_container(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "LOOK_ANYWAY", PATIENT)
    id = run(engine, "restless")
    with ContainerEngine(Containers(engine=engine.url)) as client, client.changes(id) as changes, Stop() as stop:
        assert changes.reported
        over = threading.Event()
        restless = threading.Thread(target=_pause_until, args=(engine, "restless", over))
        restless.start()
        try:
            begun = time.monotonic()
            changes.wait(PATIENT, stop)
            assert time.monotonic() - begun < PATIENT / 2
        finally:
            over.set()
            restless.join()


def _pause_until(engine: DockerEngine, name: str, over: threading.Event) -> None:
    """Repeatedly, because events before the engine's stream starts are not delivered."""
    while not over.is_set():
        engine.cli("pause", name)
        engine.cli("unpause", name)


def test_engine_without_events_is_polled_with_growing_pauses() -> None:
    with ContainerEvents(None, "0" * 64) as changes, Stop() as stop:
        assert not changes.reported
        begun = time.monotonic()
        changes.wait(PATIENT, stop)
        assert time.monotonic() - begun < PATIENT / 2


def test_restart_of_a_container_with_a_health_check_is_done_once_healthy(
    docker: DockerEngine, driver_of: Drive
) -> None:
    check = ("--health-cmd", "test -e /ok", "--health-interval", "0.2s", "--health-retries", "2")
    agent = driver_of(docker)
    run(docker, "slow", does="busybox rm -f /ok; sleep 0.3; echo > /ok; ", options=check)
    assert done(agent, KIND, {"container": "slow"})["message"] == "running (healthy)"
    run(docker, "ill", options=check)
    assert failure(agent, KIND, {"container": "ill"}) == "the container ill was restarted and is unhealthy"


def test_container_not_healthy_in_time_fails_the_action(docker: DockerEngine) -> None:
    run(docker, "late", options=("--health-cmd", "false", "--health-interval", "60s"))
    kind = ContainerRestart(settings(driving(docker) | {"host": {"timeout": 0.3}}))
    ended = perform_steps(kind, _noted(kind, "late"), args={"container": "late"})[-1]
    assert isinstance(ended, Failed)
    why = "runs, but its health check has not passed 0.3 s after its restart: running (starting)"
    assert ended.message == f"the container late {why}"


@pytest.mark.parametrize("answered", [False, True])
def test_container_is_restarted_once_despite_a_kill_of_the_agent(
    answered: bool, engine: DockerEngine, server_dir: Path, start_agent: StartAgent
) -> None:
    run(engine, "shop")
    with Held(server_dir / "h.sock", engine.socket, b"/restart", answered=answered) as held:
        agent = start_agent(config=toml(driving(engine, engine=f"unix://{held.path}")))
        action = agent.schedule(KIND, {"container": "shop"})
        assert held.reached.wait(10)
        agent.kill_all()
        held.release()
        agent.start()
        ended = agent.await_final(action, timeout=30)["action"]
    assert ended["state"] == "DONE", ended
    await_starts(engine, {"shop": 2})
    assert status(engine, "shop") == "running"


def test_slow_engine_gets_one_request(podman_engine: PodmanEngine, server_dir: Path, start_agent: StartAgent) -> None:
    deaf = "echo started; trap : TERM; while true; do sleep 0.1; done"
    podman_engine.run_container("deaf", "sh", "-c", deaf)
    with Held(server_dir / "h.sock", podman_engine.socket, b"/restart") as held:
        config = toml(driving(podman_engine, engine=f"unix://{held.path}", stop_timeout=3))
        agent = start_agent(config=config)
        action = agent.schedule(KIND, {"container": "deaf"})
        assert held.reached.wait(10)
        held.release()
        agent.kill_all()
        agent.start()
        ended = agent.await_final(action, timeout=30)["action"]
    assert ended["state"] == "DONE", ended
    await_starts(podman_engine, {"deaf": 2})
    podman_engine.cli("rm", "--force", "--time=0", "deaf")


def test_container_between_stop_and_start_gets_no_second_request(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_target, "STARTS", 1.0)
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker, stop_timeout=60)))
    doubted = kind.resume(step_of(kind, _noted(kind, "shop"), args={"container": "shop"}))
    assert isinstance(doubted, Running)
    docker.cli("stop", "shop")  # the request to the engine before the crash
    later = clock.monotonic() + 30
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    again = kind.step(step_of(kind, doubted.payload, args={"container": "shop"}))
    assert isinstance(again, Running) and again.payload["state"] == "doubted"
    await_starts(docker, {"shop": 1})


def test_request_that_never_reached_the_engine_is_sent_after_a_while(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_target, "STARTS", 0.2)
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker, stop_timeout=1)))
    doubted = kind.resume(step_of(kind, _noted(kind, "shop"), args={"container": "shop"}))
    assert isinstance(doubted, Running) and doubted.payload["state"] == "doubted"
    await_starts(docker, {"shop": 1})
    perform_steps(kind, doubted.payload, args={"container": "shop"})
    await_starts(docker, {"shop": 2})


def test_restarted_engine_gets_the_request_once_it_is_up(docker: DockerEngine) -> None:
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))
    noted = _noted(kind, "shop")
    docker.stop()  # with its containers
    back = threading.Thread(target=docker.start)
    try:
        back.start()
        ended = perform_steps(kind, noted, args={"container": "shop"})[-1]
    finally:
        back.join()
    assert isinstance(ended, Done), ended
    await_starts(docker, {"shop": 2})
    assert status(docker, "shop") == "running"


def test_container_stopped_with_its_engine_after_the_restart_is_started_again(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine ends its containers when it is stopped, also one that it has just restarted."""
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))
    ask, back = ContainerEngine.restart, threading.Thread(target=docker.start)

    def asked_and_stopped(engine: ContainerEngine, id: str) -> None:
        ask(engine, id)
        if back.ident is None:
            docker.stop()
            back.start()

    monkeypatch.setattr(ContainerEngine, "restart", asked_and_stopped)
    try:
        ended = perform_steps(kind, args={"container": "shop"})[-1]
    finally:
        back.join()
    assert isinstance(ended, Done), ended
    await_starts(docker, {"shop": 3})
    assert status(docker, "shop") == "running"


def test_failed_restart_of_a_stopping_engine_is_requested_again(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker answered `failed to update the store state of sandbox`, and was down at the next request."""
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))
    ask, back = ContainerEngine.restart, threading.Thread(target=docker.start)

    def stopped_and_failed(engine: ContainerEngine, id: str) -> None:
        if back.ident is not None:
            return ask(engine, id)
        docker.stop()
        back.start()
        raise EngineUnclear("the engine refused: failed to update the store state of sandbox")

    monkeypatch.setattr(ContainerEngine, "restart", stopped_and_failed)
    try:
        ended = perform_steps(kind, args={"container": "shop"})[-1]
    finally:
        back.join()
    assert isinstance(ended, Done), ended
    await_starts(docker, {"shop": 2})
    assert status(docker, "shop") == "running"


def test_failed_restart_of_a_running_engine_is_not_requested_again(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))

    def failed(engine: ContainerEngine, id: str) -> None:
        raise EngineUnclear("the engine refused: no space left on device")

    monkeypatch.setattr(ContainerEngine, "restart", failed)
    ended = perform_steps(kind, args={"container": "shop"})[-1]
    assert isinstance(ended, Failed) and ended.message == "the engine refused: no space left on device"


def test_request_without_an_answer_is_checked_and_not_repeated(
    docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))
    ask = ContainerEngine.restart

    def asked_and_lost(engine: ContainerEngine, id: str) -> None:
        ask(engine, id)
        raise EngineLost("the connection broke")

    monkeypatch.setattr(ContainerEngine, "restart", asked_and_lost)
    ended = perform_steps(kind, args={"container": "shop"})[-1]
    assert isinstance(ended, Done), ended
    await_starts(docker, {"shop": 2})


def test_new_container_of_the_same_name_is_not_restarted_instead(docker: DockerEngine) -> None:
    id = run(docker, "shop")
    kind = ContainerRestart(settings(driving(docker)))
    noted = _noted(kind, "shop")
    docker.cli("rm", "--force", "shop")
    run(docker, "shop")
    ended = kind.step(step_of(kind, noted, args={"container": "shop"}))
    assert isinstance(ended, Failed) and ended.message == f"the container {id[:12]} is gone"
    await_starts(docker, {"shop": 1})


def test_unreachable_engine_is_reported_with_its_option(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=toml({"containers": {"engine": f"unix://{tmp_path}/no.sock"}}))
    why = f"the engine at unix://{tmp_path}/no.sock (containers.engine) cannot be reached: No such file or directory"
    assert failure(agent, KIND, {"container": "shop"}) == why


def test_engine_without_permission_is_reported(docker: DockerEngine) -> None:
    with ContainerEngine(Containers(engine=docker.url)):
        pass
    docker.socket.chmod(0o600)
    os.seteuid(65534)
    try:
        with (
            pytest.raises(EngineFailed, match="cannot be reached: Permission denied"),
            ContainerEngine(Containers(docker.url)),
        ):
            pass
    finally:
        os.seteuid(0)


def test_hanging_engine_is_reported_after_the_timeout(docker: DockerEngine, server_dir: Path) -> None:
    run(docker, "shop")
    with Held(server_dir / "h.sock", docker.socket, b"/restart", answered=True) as held:
        options = driving(docker, engine=f"unix://{held.path}", timeout=0.3, stop_timeout=1)
        kind = ContainerRestart(settings(options))
        ended = kind.step(step_of(kind, _noted(kind, "shop"), args={"container": "shop"}))
    why = "(containers.engine) did not answer within 1.3 s; the request may still take effect"
    assert isinstance(ended, Failed) and ended.message.endswith(why)


def test_engine_on_a_port_is_called_without_a_proxy(server_dir: Path, start_agent: StartAgent) -> None:
    with DockerEngine(server_dir / "docker", tcp=True) as engine:
        engine.import_busybox()
        run(engine, "shop")
        agent = start_agent(
            config=toml(driving(engine, engine=engine.tcp_url)), env={"http_proxy": "http://127.0.0.1:1"}
        )
        assert done(agent, KIND, {"container": "shop"})["message"] == "running"
        await_starts(engine, {"shop": 2})
    why = f"the engine at {engine.tcp_url} (containers.engine) cannot be reached: Connection refused"
    assert failure(agent, KIND, {"container": "shop"}) == why


@pytest.mark.parametrize("url", ["ssh://host", "https://host", "tcp://127.0.0.1:99999", "unix:run", "tcp://u:pw@host"])
def test_invalid_engine_address_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match=r"containers\.engine: expected unix:///path or tcp://host:port") as stopped:
        settings({"containers": {"engine": url}})
    assert "pw" not in str(stopped.value)


def test_unusable_engine_address_is_reported() -> None:
    with pytest.raises(EngineFailed, match=r"the engine at foo://bar \(containers.engine\) cannot be queried: "):
        ContainerEngine(Containers(engine="foo://bar")).__enter__()


@pytest.mark.parametrize("args", [{}, {"container": ""}, {"container": "a b"}, {"container": "../x"}, {"container": 1}])
def test_invalid_container_name_is_refused(args: Any, docker: DockerEngine, driver_of: Drive) -> None:
    answer = driver_of(docker).post_schedule(KIND, args)
    assert (answer.status, list(answer.json["details"])) == (400, ["container"])


def test_container_restart_without_an_engine_is_not_offered(agent: AgentProcess) -> None:
    answer = agent.post(f"{PREFIX}/schedule/{KIND}", json={"container": "shop"})
    assert answer.status == 404
    assert answer.json["error"].endswith("is not available on this node: set [containers] in the configuration")


def test_container_restart_without_its_package_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "find_spec", lambda name: None)
    missing = discover(settings({"containers": {}})).missing
    why = "the Python package docker is not installed: install the agent with its extra [containers]"
    assert missing[KIND] == missing["service_restart"] == why


def _noted(kind: ContainerRestart, container: str) -> Any:
    """The payload after the first step."""
    outcome = kind.step(step_of(kind, args={"container": container}))
    assert isinstance(outcome, Running)
    return outcome.payload
