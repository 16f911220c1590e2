"""Plans predict the effect of the action and change nothing; every kind with an effect has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.kinds.base import Done, Failed, Kind
from agent.kinds.base.registry import kinds_of, own_modules
from agent.kinds.clear_caches import ClearCaches
from agent.kinds.container_restart import ContainerRestart
from agent.kinds.maintenance_mode import MaintenanceMode
from agent.kinds.named_service import ServiceRestart
from agent.kinds.process import PauseProcesses, RestartProcesses, ResumeProcesses
from agent.kinds.replicante_service import GracefulRestart, GracefulStop, Restart, StartService, StopService
from agent.kinds.replicante_store import StopStore
from agent.plan import Danger, Plan, Would, in_order, refuse
from tests.kinds.configuring import over, settings
from tests.kinds.engines import driving, run
from tests.kinds.performing import perform
from tests.kinds.test_process import Workers, workers
from tests.servers.docker import DockerEngine
from tests.servers.redis import RedisServer

__all__ = ["workers"]

WORST = {
    Danger.NONE: {Would.NOTHING, Would.CHANGE, Would.REFUSE, Would.UNKNOWN},
    Danger.DISRUPTS: set(Would) - {Would.DESTROY},
    Danger.DESTROYS: set(Would),
}


def plan_of(kind: Kind, args: Any = None) -> Plan:
    plan = kind.plan(kind.load({} if args is None else args))
    assert plan.would in WORST[kind.danger]
    assert (plan.would is Would.REFUSE) == (plan.refusal is not None)
    assert plan.summary and (plan.steps or plan.would in (Would.NOTHING, Would.REFUSE))
    return plan


def test_every_kind_with_an_effect_has_a_plan() -> None:
    classes = [cls for module in own_modules() for cls in kinds_of(module)]
    without = {cls.name for cls in classes if cls.plan is Kind.plan}
    assert {name for name in without if not name.startswith("replicante.test.")} == set()


SERVICE = {
    # depending on whether the server is up
    StartService: {True: Would.NOTHING, False: Would.CHANGE},
    StopService: {True: Would.DISRUPT, False: Would.NOTHING},
    StopStore: {True: Would.DISRUPT, False: Would.NOTHING},
    Restart: {True: Would.DISRUPT, False: Would.CHANGE},
    GracefulStop: {True: Would.DISRUPT, False: Would.NOTHING},
    GracefulRestart: {True: Would.DISRUPT, False: Would.CHANGE},
}


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("cls", SERVICE)
def test_plan_of_a_service_predicts_the_effect(cls: type[Kind], up: bool, redis_server: RedisServer) -> None:
    if not up:
        redis_server.stop()
    before = redis_server.pid
    kind = cls(settings(over(redis_server)))
    plan = plan_of(kind)
    assert plan.would is SERVICE[cls][up]
    assert redis_server.pid == before, "the plan changed nothing"
    assert isinstance(perform(kind)[-1], Done)
    disrupted = before is not None and redis_server.pid != before
    assert disrupted == (plan.would is Would.DISRUPT)
    assert (redis_server.pid == before) == (plan.would is Would.NOTHING)


def test_plan_of_a_service_with_a_failing_supervisor_is_a_refusal(redis_server: RedisServer) -> None:
    kind = StopService(settings(over(redis_server, pid=["/nowhere/pidof"])))
    plan = plan_of(kind)
    assert plan.would is Would.REFUSE and "/nowhere/pidof" in plan.summary
    assert isinstance(perform(kind)[-1], Failed)


def test_plan_of_processes_predicts_the_effect(workers: Workers) -> None:
    configured = settings(workers.document())
    pause, resume, restart = (cls(configured) for cls in (PauseProcesses, ResumeProcesses, RestartProcesses))
    assert plan_of(pause).would is plan_of(resume).would is Would.REFUSE
    assert isinstance(perform(pause)[-1], Failed), "nothing runs"
    workers.run()
    assert (plan_of(pause).would, plan_of(resume).would) == (Would.DISRUPT, Would.NOTHING)
    assert plan_of(restart).would is Would.DISRUPT
    perform(pause)
    assert (plan_of(pause).would, plan_of(resume).would) == (Would.NOTHING, Would.CHANGE)
    perform(resume)
    assert (plan_of(pause).would, plan_of(resume).would) == (Would.DISRUPT, Would.NOTHING)


def test_plan_of_maintenance_mode_predicts_the_effect(tmp_path: Path) -> None:
    maintenance = {"flag": str(tmp_path / "flag"), "on": [["true"]], "off": [["true"]]}
    kind = MaintenanceMode(settings({"maintenance": maintenance, "agent": {"db": str(tmp_path / "agent.db")}}))
    assert plan_of(kind, {"value": "off"}).would is Would.NOTHING
    plan = plan_of(kind, {"value": "on"})
    assert plan.would is Would.CHANGE and plan.steps == ["run true"]
    assert not (tmp_path / "flag").exists()
    perform(kind, args={"value": "on"})
    assert plan_of(kind, {"value": "on"}).would is Would.NOTHING
    assert plan_of(kind, {"value": "off"}).would is Would.CHANGE


def test_plan_of_caches_destroys_and_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page").write_text("cached")
    caches = {"pages": {"kind": "folder", "path": str(folder)}}
    kind = ClearCaches(settings({"caches": caches, "agent": {"db": str(tmp_path / "agent.db")}}))
    plan = plan_of(kind)
    assert plan.would is Would.DESTROY and "pages" in plan.discards[0].what
    assert (folder / "page").read_text() == "cached"


def test_plan_of_containers_predicts_the_effect(docker: DockerEngine) -> None:
    configured = settings(driving(docker))
    container, service = ContainerRestart(configured), ServiceRestart(configured)
    assert "no container none" in plan_of(container, {"container": "none"}).summary
    assert plan_of(container, {"container": "none"}).would is Would.REFUSE
    assert plan_of(service, {"service_name": "none"}).would is Would.REFUSE
    run(docker, "web-1")
    plan = plan_of(container, {"container": "web-1"})
    assert plan.would is Would.DISRUPT and plan.facts["container"] == "web-1"


def test_combined_plan_has_the_worst_effect() -> None:
    change, disrupt = Plan(Would.CHANGE, "a", steps=["a"]), Plan(Would.DISRUPT, "b", steps=["b"])
    both = in_order("both", [disrupt, change])
    assert (both.would, both.summary, both.steps) == (Would.DISRUPT, "both", ["b", "a"])
    refused = refuse("no", "yes")
    assert in_order("both", [change, refused]) is refused
    assert in_order("none", []).would is Would.NOTHING
