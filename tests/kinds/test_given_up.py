"""The message of a started action whose kind or object was removed from the configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.deployments.progress import beginning
from agent.engine.execution import Execution, kind_of
from agent.jobs.jobs import ExitedJob, Jobs, RunningJob
from agent.kinds.base import Failed
from agent.kinds.base.registry import discover
from agent.kinds.replicante_test import Success
from agent.models import Claimed, Json
from tests.kinds.configuring import settings
from tests.kinds.performing import step_of

NOTED = {"unit": "web.service", "state": "restarting", "was": "1", "pid": None, "message": ""}
CACHES = {"a": {"kind": "folder", "path": "/var/cache/a"}, "b": {"kind": "folder", "path": "/var/cache/b"}}
CLEARING = {"clearing": "b", "next": ["c"], "cleared": {"a": {"files": 1, "bytes": 1}}, "failed": {}, "again": []}
PAUSED = {"processes": [{"process": "workers", "how": "frozen"}]}
CONTAINERS = {"service": "web", "containers": [{"container": "web-1", "state": "noted"}]}
TURNING = {"state": "turning on", "ran": 1, "of": 2, "again": []}

DEPLOYING = {"application": "shop", "path": "/srv/shop", "phase": "before", "release": None}
NO_DEPLOY = (
    "deploy is not available on this node: set [applications.NAME] in the configuration; "
    "/srv/shop/current was not switched"
)


def end_of(
    kind: str,
    args: Json,
    payload: Json,
    document: Any,
    directory: Path,
    *,
    interrupted: bool = False,
    cancelled: bool = False,
) -> Failed:
    """The end of an action with this payload under this configuration."""
    configured = settings(document | {"agent": {"db": str(directory / "agent.db"), "node": "db-1"}})
    action = replace(step_of(Success(configured)).action, kind=kind, args=args, state_payload=payload)
    claimed = Claimed(action, {}, cancel_requested=cancelled)
    performer = kind_of(claimed, discover(configured), configured)
    outcome = Execution(claimed, performer, 60, interrupted=interrupted).next()
    assert isinstance(outcome, Failed), outcome
    return outcome


@pytest.mark.parametrize(
    ("kind", "payload", "option", "left"),
    [
        ("restart", {"services": [NOTED | {"state": "running"}, NOTED | {"unit": "b.service"}]}, "host.services",
         "web.service: running, b.service: restarting"),
        ("stack_reboot", {"phase": "asked", "boot_id": "another", "init_started": 1, "since": 1.0}, "host.reboot",
         "this server has rebooted"),
        ("clear_caches", CLEARING, "[caches.NAME]", "cleared: a; not cleared: b, c"),
        ("process_pause", PAUSED, "[processes.NAME]", "workers: frozen"),
        ("container_restart", {"container": "web-1", "state": "noted"}, "[containers]", "the container web-1: noted"),
        ("service_pause", CONTAINERS, "[containers] or [services]", "web-1: noted"),
        ("service_restart", {"service": "web", "unit": NOTED}, "[containers] or [services]", "web.service: restarting"),
        ("maintenance_mode", TURNING, "[maintenance]",
         "1 of 2 commands were run, and the flag is unchanged: turning on"),
        ("replicante.service.stop", {"attempt": 1, "message": "the service has not stopped: up", "pid": "7"},
         "[service]", "last state: the service has not stopped: up"),
        ("replicante.service.restart", {"stage": 0, "state": "DONE", "payload": {}}, "[service]",
         "done: replicante.service.stop, not begun: replicante.service.start"),
        ("resync_slave_db", {"phase": "copying", "phases": []}, "[datastore]",
         "it was in the phase copying: the server may be stopped and its data incomplete: resync it again"),
        ("database_create", {"any": 1}, "[datastore]",
         "the action ended before it was complete; `payload` shows its progress"),
    ],
)  # fmt: skip
def test_action_of_a_kind_no_longer_offered_reports_its_leftovers(
    kind: str, payload: Json, option: str, left: str, tmp_path: Path
) -> None:
    end = end_of(kind, {}, payload, {}, tmp_path)
    assert end.message == f"{kind} is not available on this node: set {option} in the configuration; {left}"
    assert end.payload == {"message": end.message, "payload": payload}


def test_interrupted_step_is_reported_with_an_unknown_effect(tmp_path: Path) -> None:
    reason = "no kind is called 'external.vacuum'"
    end = end_of("external.vacuum", {}, None, {}, tmp_path, interrupted=True)
    assert end.message.startswith(reason)
    assert end.message.endswith("; its first step was interrupted and may or may not have taken effect")
    assert end_of("external.vacuum", {}, None, {}, tmp_path).message.startswith(reason)
    stopped = {"stage": 0, "state": "DONE", "payload": {}}
    end = end_of("replicante.service.restart", {}, stopped, {}, tmp_path, interrupted=True)
    assert end.message.endswith(
        "; done: replicante.service.stop, not begun: replicante.service.start"
        "; the step after that was interrupted and may or may not have taken effect"
    )


def test_only_the_running_job_of_this_action_is_ended(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "agent.db.jobs")
    names = ("deploy-a-1-before-0", "deploy-b-1-before-0")
    try:
        for cancelled in (False, True):
            own, other = (jobs.start(name, ["sleep", "60"]) for name in names)
            end = end_of("deploy", {}, DEPLOYING, {}, tmp_path, cancelled=cancelled)
            assert end.message == ("cancelled" if cancelled else f"{NO_DEPLOY}; the command that still ran was ended")
            assert (type(own.look()), type(other.look())) == (ExitedJob, RunningJob)
            own.forget()
    finally:
        other.end(0)


def test_deploy_continues_with_its_application_after_another_was_added(tmp_path: Path) -> None:
    shops = {name: {"repository": "/no/repository", "path": str(tmp_path / name)} for name in ("shop", "blog")}
    begun = beginning("shop", settings({"applications": shops}).applications["shop"], "main", "none")
    back = {"restarted": [], "back": [], "error": "why", "failed_in": "after"}
    payload = begun.then("rollback", previous_release="one", release="two", **back).payload()
    end = end_of("deploy", {}, payload, {"applications": shops}, tmp_path)
    assert end.message == "why; rolled back to one"


def test_cancel_ends_the_command_of_a_removed_process(tmp_path: Path) -> None:
    job = Jobs(tmp_path / "agent.db.jobs").start("restart-a-1-0", ["sleep", "60"])
    restarting = {"processes": [{"process": "gone", "restart": {"state": "restarting", "job": job.name}}]}
    other = {"processes": {"other": {"unit": "other.service"}}}
    assert end_of("process_restart", {}, restarting, other, tmp_path, cancelled=True).message == "cancelled"
    assert isinstance(job.look(), ExitedJob)
    job.forget()


def test_cancel_removes_the_half_release_of_a_removed_application(tmp_path: Path) -> None:
    release = tmp_path / "releases" / "20261122-000000-0123456"
    release.mkdir(parents=True)
    half = DEPLOYING | {"path": str(tmp_path), "release": f"releases/{release.name}"}
    assert end_of("deploy", {}, half, {}, tmp_path, cancelled=True).message == "cancelled"
    assert not release.exists()


def test_arguments_that_became_invalid_are_named(tmp_path: Path) -> None:
    cache = {"caches": {"a": CACHES["a"]}}
    why = "clear_caches does not accept these arguments: caches.0: Must be one of: a"
    assert end_of("clear_caches", {"caches": ["b"]}, None, cache, tmp_path).message == why
    end = end_of("clear_caches", {"caches": ["b"]}, CLEARING | {"next": []}, cache, tmp_path)
    assert end.message == f"{why}; cleared: a; not cleared: b"
    processes = {"processes": {"other": {"unit": "other.service"}}}
    end = end_of("process_resume", {"process_name": "workers"}, PAUSED, processes, tmp_path)
    assert end.message == (
        "process_resume does not accept these arguments: process_name: the processes of this node are other; "
        "workers: frozen"
    )


def test_removed_cache_is_reported_as_not_cleared(tmp_path: Path) -> None:
    end = end_of("clear_caches", {}, CLEARING | {"next": []}, {"caches": {"a": CACHES["a"]}}, tmp_path)
    assert end.message == "b is not cleared: the configuration no longer has it"


@pytest.mark.parametrize(
    ("payload", "services"),
    [
        ({"service": "web", "unit": NOTED}, {"web": {"unit": "other.service"}}),
        ({"service": "web", "unit": NOTED}, {"other": {"unit": "other.service"}}),
        (CONTAINERS, {"web": {"unit": "web.service"}}),
    ],
)
def test_changed_service_is_left_and_reported(payload: Any, services: Any, tmp_path: Path) -> None:
    document = {"services": services, "containers": {"engine": "unix:///no/engine"}}
    end = end_of("service_restart", {"service_name": "web"}, payload, document, tmp_path)
    left = "web.service: restarting" if "unit" in payload else "web-1: noted"
    assert end.message == f"the configuration of the service web was changed or removed; {left}"
