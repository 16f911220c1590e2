"""A restart is requested once despite interruptions, and ends as soon as its result is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from agent import clock
from agent.containers.container_target import ContainerProgress
from agent.supervisors.pid_file import ProcessProgress
from agent.supervisors.systemd.unit_target import UnitProgress
from agent.util import idempotent_restart
from agent.util.idempotent_restart import (
    DOUBTED,
    NOTED,
    RESTARTING,
    RUNNING,
    AnswerLost,
    Look,
    RestartProgress,
    RestartTarget,
)
from agent.util.stop import Stop

BEFORE, AFTER = "identity before", "identity after"
NOT_YET, UP = Look(RESTARTING, {}, lacks="it is not up"), Look(RUNNING, {})


@dataclass(frozen=True, kw_only=True)
class ServerProgress(RestartProgress):
    name: str = "server"


class Server(RestartTarget[ServerProgress]):
    """A target with these states one after the other; `heard` and `answers` are the fate of a request."""

    progress = ServerProgress

    def __init__(self, *looks: Look, heard: bool = True, answers: bool = True, timeout: float = 60.0) -> None:
        super().__init__(timeout, Stop())
        self.identity: str = BEFORE
        self.requests, self.looks = 0, list(looks)
        self.heard, self.answers = heard, answers
        self.in_doubt = 60.0

    def note(self) -> ServerProgress:
        return ServerProgress(was=self.identity)

    def has_changed(self, restart: ServerProgress) -> bool:
        return bool(self.identity != restart.was)

    def ask(self, restart: ServerProgress) -> None:
        self.requests += 1
        if self.heard:
            self.identity = AFTER
        if not self.answers:
            raise AnswerLost

    def look(self, restart: ServerProgress, seconds: float) -> Look:
        return self.looks.pop(0)

    def failure(self, why: str, waited: float) -> Exception:
        return ValueError(why)


def taken(server: Server, payload: Any = None, steps: int = 10) -> tuple[list[str], Any]:
    """The states after each step until the target is up, each read back from JSON, and the last payload."""
    states: list[str] = []
    while len(states) < steps and RUNNING not in states:
        payload = json.loads(json.dumps(idempotent_restart.step(server, payload).payload()))
        states.append(payload["state"])
    return states, payload


def test_identity_is_stored_before_the_restart_is_requested_once() -> None:
    server = Server(NOT_YET, NOT_YET, UP)
    assert taken(server)[0] == [NOTED, RESTARTING, RESTARTING, RUNNING]
    assert server.requests == 1


def test_restart_that_happened_before_its_request_was_stored_is_not_repeated() -> None:
    server = Server(UP)
    noted = server.note().payload()
    server.identity = AFTER
    assert taken(server, noted)[0] == [RUNNING]
    assert server.requests == 0


def test_request_without_an_answer_is_repeated_only_once_it_cannot_take_effect() -> None:
    server = Server(UP, heard=False, answers=False)
    states, doubted = taken(server, steps=5)
    assert states == [NOTED, *[DOUBTED] * 4] and server.requests == 1
    server.in_doubt, server.heard, server.answers = 0.0, True, True
    assert taken(server, doubted)[0] == [RUNNING]
    assert server.requests == 2


def test_request_without_an_answer_is_not_repeated_if_it_took_effect() -> None:
    server = Server(UP, answers=False)
    assert taken(server)[0] == [NOTED, DOUBTED, RUNNING]
    assert server.requests == 1


@pytest.mark.parametrize("state", [DOUBTED, RESTARTING])
@pytest.mark.parametrize(("identity", "requests"), [(BEFORE, 1), (AFTER, 0)])
def test_restart_is_requested_again_after_a_reboot_unless_the_boot_did_it(
    state: str, identity: str, requests: int
) -> None:
    server = Server(UP)
    server.identity = identity
    begun = {"name": "server", "state": state, "was": BEFORE, "since": 1e9, "boot": "another"}
    assert taken(server, begun)[0] == [RUNNING]
    assert server.requests == requests


OLD: list[tuple[type[RestartProgress], dict[str, Any]]] = [
    (UnitProgress, {"unit": "a.service", "state": "noted", "was": "7", "pid": "1", "message": "active (running)"}),
    (ContainerProgress, {"container": "a", "id": "7", "state": "noted", "was": "2026", "message": "running"}),
    (ContainerProgress, {"container": "a", "id": "7", "state": "doubted", "was": "2026", "message": "", "since": 1.5}),
    (ContainerProgress, {"container": "a", "id": "7", "state": "running", "was": "2026", "message": "running"}),
    (ProcessProgress, {"state": "restarting", "was": {"pid": 1}, "pid": "1", "job": "restart-a", "since": 1.5}),
    (ProcessProgress, {"state": "restarting", "was": None, "pid": None, "job": "restart-a"}),
]


@pytest.mark.parametrize(("progress", "stored"), OLD)
def test_the_progress_of_the_previous_version_is_read(progress: type[RestartProgress], stored: dict[str, Any]) -> None:
    """That version stored no boot for a container and a pid file: the current boot is assumed."""
    boot = {"boot": clock.boot_id()} if "since" in stored else {}
    assert progress.of(stored | {"newer": 1}).payload() == stored | boot


def test_progress_of_the_previous_version_gets_its_full_timeout_after_a_reboot() -> None:
    assert RestartProgress.of({"state": DOUBTED, "was": BEFORE, "since": 1e9}).waited == pytest.approx(0.0, abs=1.0)


def test_failed_target_ends_the_restart_at_once() -> None:
    server = Server(Look(RESTARTING, {}, failed="it has failed", lacks="it is not up"))
    with pytest.raises(ValueError, match="it has failed"):
        taken(server)


def test_target_not_up_in_time_fails_the_restart() -> None:
    server = Server(NOT_YET, timeout=-1.0)
    with pytest.raises(ValueError, match="it is not up"):
        taken(server)


def test_restart_ends_during_a_stop_only_if_the_target_is_up() -> None:
    server = Server(Look(RESTARTING, {}, failed="it has failed"), UP, timeout=-1.0)
    server.stop.request("the agent stops")
    assert taken(server)[0] == [NOTED, RESTARTING, RUNNING]


def test_target_stopped_with_its_supervisor_is_requested_again() -> None:
    server = Server(Look(NOTED, {"was": AFTER, "since": None, "boot": None}), UP)
    assert taken(server)[0] == [NOTED, NOTED, RUNNING]
    assert server.requests == 2
