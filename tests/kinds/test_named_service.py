"""Services restarted, paused and resumed by name: containers of real engines, units of a real systemd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.kinds.named_service import ServiceResult
from tests.agent_inside import AgentInside
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.datastores.held import Held
from tests.kinds.configuring import toml
from tests.kinds.conftest import Drive
from tests.kinds.engines import await_starts, done, driving, failure, run, status
from tests.kinds.killing import MOMENTS, killed_at_systemctl, slow_down
from tests.kinds.wires import WIRES, by_schedule, perform
from tests.servers.docker import DockerEngine
from tests.servers.node import Node
from tests.supervisors.asking import BINDS

THREE = ("web-1", "web-2", "web-3")
UNIT = "redis-server.service"
SLOW = """
[Service]
ExecStartPre=/bin/sh -c "echo started >> /var/starts"
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c "while [ -e /slow.hold ]; do sleep 0.05; done"
"""


@pytest.fixture
def driver(engine: DockerEngine, driver_of: Drive) -> AgentProcess:
    """The agent of an engine with three containers of the service web."""
    run_web(engine)
    return driver_of(engine)


@pytest.fixture
def docker_driver(docker: DockerEngine, driver_of: Drive) -> AgentProcess:
    """The same for Docker alone."""
    run_web(docker)
    return driver_of(docker)


def run_web(engine: DockerEngine) -> None:
    for name in reversed(THREE):
        run(engine, name, service="web")


def each(result: Any, member: str) -> dict[str, str]:
    """The values of this member of the results, by container."""
    return {done["container"]: done[member] for done in result["containers"]}


def test_only_the_containers_of_a_service_are_restarted_in_order(engine: DockerEngine, driver: AgentProcess) -> None:
    once = ("--label", "com.docker.compose.oneoff=True")
    run(engine, "web-run", service="web", options=once)
    run(engine, "db-1", service="db")
    engine.cli("stop", "web-2")
    result = done(driver, "service_restart", {"service_name": "web"})
    assert ServiceResult().validate(result) == {}
    assert each(result, "state") == dict.fromkeys(THREE, "running")
    await_starts(engine, dict.fromkeys(THREE, 2))
    action = perform(
        driver, "async actions", "service_restart", service="web", server_uid="db-1", server_id_filter=["db-1", "db-2"]
    )
    assert action["finished_message"] == "the service web was restarted: web-1, web-2, web-3"
    assert action["resource_type"] == "Service"
    await_starts(engine, dict.fromkeys(THREE, 3))
    await_starts(engine, {"db-1": 1, "web-run": 1})


def test_service_is_paused_and_resumed_idempotently(engine: DockerEngine, driver: AgentProcess) -> None:
    engine.cli("stop", "web-3")
    exit_code = engine.cli("inspect", "--format", "{{.State.ExitCode}}", "web-3")
    stopped = f"exited with exit code {exit_code}"
    paused = done(driver, "service_pause", {"service_name": "web"})
    assert each(paused, "message") == {"web-1": "paused", "web-2": "paused", "web-3": stopped}
    assert [status(engine, name) for name in THREE] == ["paused", "paused", "exited"]
    again = perform(driver, "async actions", "service_pause", service_name="web")
    assert each(again["finished_result"], "message")["web-1"] == "paused already"
    text = f"the service web was paused: web-1, web-2; web-3 is not running: {stopped}"
    assert again["finished_message"] == text
    resumed = done(driver, "service_resume", {"service_name": "web"})
    assert each(resumed, "state") == {"web-1": "running", "web-2": "running", "web-3": "skipped"}
    assert [status(engine, name) for name in THREE] == ["running", "running", "exited"]
    again = perform(driver, "async actions", "service_resume", service_name="web")
    assert each(again["finished_result"], "message")["web-1"] == "not paused"
    await_starts(engine, dict.fromkeys(THREE, 1))


def test_pause_of_a_stopped_service_does_nothing(docker: DockerEngine, docker_driver: AgentProcess) -> None:
    docker.cli("stop", *THREE)
    action = perform(docker_driver, "async actions", "service_pause", service_name="web")
    assert action["finished_success"]
    assert action["finished_message"].startswith("nothing of web is running; web-1 is not running: exited")


def test_service_without_containers_fails_on_both_apis(engine: DockerEngine, driver_of: Drive) -> None:
    driver, why = driver_of(engine), "no container belongs to the service nobody"
    for kind in ("service_restart", "service_pause", "service_resume"):
        assert failure(driver, kind, {"service_name": "nobody"}) == why
        action = perform(driver, "async actions", kind, service_name="nobody")
        assert (action["finished_success"], action["finished_message"]) == (False, why)


def test_failure_lists_the_containers_restarted_before(docker: DockerEngine, docker_driver: AgentProcess) -> None:
    docker.cli("rm", "--force", "web-2")
    run(docker, "web-2", service="web", does="test -e /again && exit 3; echo > /again; ")
    action = by_schedule(docker_driver, "service_restart", service_name="web")
    why = action["state_payload"]["message"]
    assert action["state"] == "FAILED"
    await_starts(docker, dict(zip(THREE, (2, 2, 1), strict=True)))
    assert why.startswith("web-2: the container web-2 was restarted and has exited: ")
    assert why.endswith("with exit code 3; restarted before: web-1; not restarted: web-3")
    assert each(action["state_payload"], "state") == {"web-1": "running", "web-2": "noted", "web-3": "waiting"}


def test_each_container_is_restarted_once_despite_a_kill_of_the_agent(
    engine: DockerEngine, server_dir: Path, start_agent: StartAgent
) -> None:
    run_web(engine)
    second = engine.cli("inspect", "--format", "{{.Id}}", "web-2")
    word = f"/{second}/restart".encode()
    with Held(server_dir / "h.sock", engine.socket, word) as held:
        agent = start_agent(config=toml(driving(engine, engine=f"unix://{held.path}")))
        ended = killed_at(held, agent, "service_restart")
    assert each(ended["state_payload"], "state") == dict.fromkeys(THREE, "running")
    await_starts(engine, dict.fromkeys(THREE, 2))


@pytest.mark.parametrize("kind, word", [("service_pause", "/pause"), ("service_resume", "/unpause")])
def test_service_is_paused_or_resumed_despite_a_kill_of_the_agent(
    kind: str, word: str, engine: DockerEngine, server_dir: Path, start_agent: StartAgent
) -> None:
    run_web(engine)
    if kind == "service_resume":
        engine.cli("pause", *THREE)
    with Held(server_dir / "h.sock", engine.socket, word.encode()) as held:
        agent = start_agent(config=toml(driving(engine, engine=f"unix://{held.path}")))
        killed_at(held, agent, kind)
    wanted = "paused" if kind == "service_pause" else "running"
    assert [status(engine, name) for name in THREE] == [wanted] * 3


def killed_at(held: Held, agent: AgentProcess, kind: str) -> Any:
    """The state (DONE) of an action whose agent was killed during the held request."""
    action = agent.schedule(kind, {"service_name": "web"})
    assert held.reached.wait(10)
    agent.kill_all()
    held.release()
    agent.start()
    ended = agent.await_final(action, timeout=30)["action"]
    assert ended["state"] == "DONE", ended
    return ended


@pytest.mark.parametrize(
    "wrong, args",
    [
        ("service_name", {}),
        ("service_name", {"service_name": ""}),
        ("server", {"service_name": "web", "server": "db-2"}),
        ("server_id_filter", {"service_name": "web", "server_id_filter": "db-2"}),
        ("server_id_filter", {"service_name": "web", "server_id_filter": ["db-2", "db-3"]}),
        ("server_id_filter", {"service_name": "web", "server_id_filter": [1]}),
        ("server_id_filter", {"service_name": "web", "server_id_filter": ["db-1"] * 101}),
        ("other", {"service_name": "web", "other": 1}),
    ],
)
def test_request_for_another_server_or_with_invalid_arguments_is_refused(
    wrong: str, args: Any, docker: DockerEngine, driver_of: Drive
) -> None:
    driver = driver_of(docker)
    for kind in ("service_restart", "service_pause", "service_resume"):
        answer = driver.post_schedule(kind, args)
        assert (answer.status, list(answer.json["details"])) == (400, [wrong])


def test_kinds_without_engine_and_services_are_not_offered(agent: AgentProcess) -> None:
    for kind in ("service_restart", "service_pause", "service_resume"):
        answer = agent.post_schedule(kind, {"service_name": "web"})
        assert answer.status == 404
        assert answer.json["error"].endswith("set [containers] or [services] in the configuration")


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    node = start_node("services", binds=BINDS, keep_units=[UNIT])
    node.write("/etc/systemd/system/slow.service", SLOW)
    slow_down(node)
    node.systemctl("daemon-reload")
    node.systemctl("start", "slow.service")
    return node


@pytest.fixture(scope="module")
def inside(node: Node) -> Iterator[AgentInside]:
    """An agent for which cache and slow are units, and gone one that systemd does not know."""
    units = {"cache": UNIT, "slow": "slow.service", "gone": "gone.service"}
    agent = AgentInside(node)
    yield agent.configure({"services": {name: {"unit": unit} for name, unit in units.items()}})
    agent.close()


def test_a_service_that_is_a_unit_is_restarted_paused_and_resumed(node: Node, inside: AgentInside) -> None:
    pids = {node.show(UNIT, "MainPID")}
    result = done(inside, "service_restart", {"service_name": "cache"})
    assert ServiceResult().validate(result) == {}
    pids.add(node.show(UNIT, "MainPID"))
    action = perform(inside, "async actions", "service_restart", service="cache")
    assert action["finished_message"] == "the service cache was restarted"
    pids.add(node.show(UNIT, "MainPID"))
    assert len(pids) == 3
    for wire in WIRES:
        text = []
        for kind in ("service_pause", "service_pause", "service_resume", "service_resume"):
            action = perform(inside, wire, kind, service_name="cache")
            assert action["finished_success"], action
            text.append((action["finished_result"]["unit"]["message"], node.show(UNIT, "FreezerState")))
        assert text == [
            ("frozen", "frozen"), ("paused already", "frozen"), ("thawed", "running"), ("not paused", "running"),
        ]  # fmt: skip
    assert node.show(UNIT, "MainPID") in pids


def test_unit_is_restarted_once_despite_a_kill_of_the_agent(node: Node, inside: AgentInside) -> None:
    before = node.read("/var/starts").count("started")
    node.run("touch", "/slow.hold")
    action = inside.schedule("service_restart", {"service_name": "slow"})
    eventually(lambda: node.show("slow.service", "ActiveState") == "deactivating", "slow ends", 30)
    node.systemctl("kill", "--signal=KILL", "agent")
    eventually(lambda: node.show("agent", "ActiveState") == "failed", "systemd sees it")
    node.run("rm", "/slow.hold")
    node.systemctl("start", "agent")
    eventually(inside._answers, "an answer of the agent", 30)
    ended = inside.await_final(action, timeout=30)["action"]
    assert ended["state"] == "DONE", ended
    assert node.read("/var/starts").count("started") == before + 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_unit_is_paused_and_resumed_despite_a_kill_of_the_agent(moment: str, node: Node, inside: AgentInside) -> None:
    """Killed before and after the request to systemd."""
    text = []
    for kind in ("service_pause", "service_resume"):
        action = killed_at_systemctl(inside, moment, partial(inside.schedule, kind, {"service_name": "cache"}))
        ended = inside.await_final(action, timeout=30)["action"]
        assert ended["state"] == "DONE", ended
        text.append((ended["state_payload"]["unit"]["message"], node.show(UNIT, "FreezerState")))
    wanted = ["frozen", "thawed"] if moment == "before" else ["paused already", "not paused"]
    assert text == list(zip(wanted, ("frozen", "running"), strict=True))


def test_missing_unit_and_unconfigured_service_are_reported(inside: AgentInside) -> None:
    for kind in ("service_restart", "service_pause", "service_resume"):
        assert failure(inside, kind, {"service_name": "gone"}) == "systemd has no unit gone.service"
        action = perform(inside, "async actions", kind, service="gone")
        assert action["finished_message"] == "systemd has no unit gone.service"
        why = "there is no [services.other] in the configuration, and [containers] is not set"
        assert failure(inside, kind, {"service_name": "other"}) == why


STACK_ACTIONS = "/api/3/stacks/default/actions"


def typed(inside: AgentInside, **units: str) -> AgentInside:
    """The agent of typed clients, with these services."""
    services = {name: {"unit": unit} for name, unit in units.items()}
    return inside.configure({"agent": {"node": "db-1"}, "api": {"async_actions": "typed"}, "services": services})


def test_server_without_a_service_restarts_each_service_once(node: Node, inside: AgentInside) -> None:
    agent = typed(inside, cache=UNIT, slow="slow.service")
    pid, started = node.show(UNIT, "MainPID"), node.read("/var/starts").count("started")
    node.run("touch", "/slow.hold")
    begun = agent.post(STACK_ACTIONS, json={"command": "service_restart", "server_uid": "db-1"})
    eventually(lambda: node.show("slow.service", "ActiveState") == "deactivating", "slow ends", 30)
    node.systemctl("kill", "--signal=KILL", "agent")
    eventually(lambda: node.show("agent", "ActiveState") == "failed", "systemd sees it")
    node.run("rm", "/slow.hold")
    node.systemctl("start", "agent")
    eventually(agent._answers, "an answer of the agent", 30)
    agent.await_final(str(begun.json["response"]["id"]), timeout=60)
    action = agent.get(f"{STACK_ACTIONS}/{begun.json['response']['id']}").json["response"]
    assert action["finished_success"], action
    assert (action["resource_type"], action["metadata"]) == ("Server", {"server": "db-1"})
    assert [each["service"] for each in action["finished_result"]["services"]] == ["cache", "slow"]
    assert all(ServiceResult().validate(each["payload"]) == {} for each in action["finished_result"]["services"])
    assert node.show(UNIT, "MainPID") != pid and node.read("/var/starts").count("started") == started + 1


def test_either_service_or_server_is_required(node: Node, inside: AgentInside) -> None:
    agent = typed(inside, cache=UNIT, gone="gone.service", slow="slow.service")
    pid = node.show(UNIT, "MainPID")
    for named in ({"service_name": "cache"}, {"service_name": "cache", "server_uid": "db-1"}):
        done(agent, "service_pause", named)
        done(agent, "service_resume", named)
    assert node.show(UNIT, "MainPID") == pid
    message = failure(agent, "service_restart", {"server": "db-1"})
    assert message == "systemd has no unit gone.service; done before: cache; not begun: slow"
    plan = agent.post("/api/unstable/actions/plan/service_restart", json={"server": "db-1"}).json
    assert plan["would"] == "refuse" and "gone.service" in plan["summary"]
    for wrong, member in (({}, "service_name"), ({"server_uid": "db-2"}, "server")):
        refused = agent.post(STACK_ACTIONS, json={"command": "service_restart"} | wrong)
        assert refused.status == 400 and member in refused.json["details"]
