"""Restarting the units of an application, each of which must be up and healthy; every call is a short piece of it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agent import clock
from agent.config import Application
from agent.deployments.errors import DeploymentFailed
from agent.deployments.jobs import UMASK
from agent.processes import command
from agent.processes.recording import Recorded
from agent.supervisors.base import CommandKilled, SupervisorFailed, failure_text
from agent.supervisors.systemd import unit_restart
from agent.supervisors.systemd.unit import Unit
from agent.supervisors.systemd.unit_restart import Progress
from agent.util.stop import Stop

HEALTHY, FAILED = "healthy", "failed"
"""States of a unit's progress beyond those of a restart."""
NO_UNIT = ""
"""Stands for an application without units, whose health is asked for all the same."""
LEAST = 1.0
"""Seconds that even a late try of the health command gets."""


class Rollout:
    """The units of one application, onto the release in `cwd`.

    A list of progress, one for each unit begun, goes in and comes out; what it says must be on disk before the
    next call. All raise `SupervisorFailed`, `DeploymentFailed`, `CommandError`.
    """

    def __init__(self, application: Application, env: Mapping[str, str], cwd: Path, stop: Stop, action: str) -> None:
        self._application = application
        self._env = env
        self._cwd = cwd
        self._stop = stop
        self._action = action

    def invocations(self, names: Sequence[str]) -> dict[str, str | None]:
        """That of each unit as it runs now. Raises `SupervisorFailed` where there is no such unit."""
        return {name: self._invocation(name) for name in names}

    def rolling(self, names: Sequence[str], done: list[Progress]) -> list[Progress]:
        """One at a time: the next is not touched before the one before it is healthy."""
        if done and not ended(done[-1]):
            return [*done[:-1], self._advance(done[-1])]
        return [*done, self._note(names[len(done)])]

    def parallel(self, names: Sequence[str], done: list[Progress]) -> list[Progress]:
        """All at once."""
        if not done:
            return [self._note(name) for name in names]
        if any(each["state"] == "noted" for each in done):
            return [self._ask(each) for each in done]
        return [self._advance(each) for each in done]

    def give_up(self, names: Sequence[str], done: list[Progress], reason: str) -> list[Progress]:
        """Go on with the next after a failure."""
        if done and not ended(done[-1]):
            return [*done[:-1], done[-1] | {"state": FAILED, "message": reason}]
        return [*done, {"unit": names[len(done)], "state": FAILED, "message": reason}]

    def have_left(self, noted: Mapping[str, str | None], done: list[Progress]) -> list[str]:
        """Which units have left the release before, the last one begun first: by us, by a boot, by a crash."""
        states = {each["unit"]: each["state"] for each in reversed(done)}
        asked = {name for name, state in states.items() if state != "noted"}
        names = dict.fromkeys((*states, *noted))
        return [name for name in names if name in asked or self._was_started(name, noted.get(name))]

    def _was_started(self, name: str, was: str | None) -> bool:
        """Whether it was started since; true where that is unknown."""
        try:
            return self._invocation(name) != was
        except CommandKilled:
            raise
        except SupervisorFailed:
            return True

    def _invocation(self, name: str) -> str:
        return self._unit(name).look(self._stop, self._action).invocation

    def _note(self, name: str) -> Progress:
        if name == NO_UNIT:
            return {"unit": name, "state": "running", **_begun(), "pid": None, "message": ""}
        unit = self._unit(name)
        if not unit.look(self._stop, self._action).running:
            # One that has crashed too often is not started again before that is forgotten.
            with suppress(SupervisorFailed):
                unit.ask("reset-failed", self._stop, self._action)
        return unit_restart.note(unit, self._stop, self._action)

    def _ask(self, progress: Progress) -> Progress:
        if progress["state"] != "noted":
            return progress
        return unit_restart.ask(self._unit(progress["unit"]), progress, self._stop, self._action)

    def _advance(self, progress: Progress) -> Progress:
        if ended(progress):
            return progress
        if progress["state"] != "noted" and progress.get("boot") != clock.boot_id():
            # The host was booted since: the unit must come up once more, within a new timeout.
            progress = progress | ({"state": "restarting"} if progress["unit"] else _begun())
        if progress["state"] != "running":
            unit = self._unit(progress["unit"])
            progress = unit_restart.advance(
                unit, progress, self._application.health_timeout, self._stop, self._action
            )  # fmt: skip
        if progress["state"] == "running" and self._is_healthy(progress):
            return self._look(progress) | {"state": HEALTHY}
        return progress

    def _is_healthy(self, progress: Progress) -> bool:
        if not self._application.health:
            return True
        self._look(progress)
        left = progress["since"] + self._application.health_timeout - clock.monotonic()
        outcome = command.run(
            self._application.health,
            timeout=max(LEAST, left),
            stop=self._stop,
            action=self._action,
            env={**self._env, "AGENT_UNIT": progress["unit"]},
            cwd=self._cwd,
            umask=UMASK,
            recorded=Recorded(),
        )
        if not outcome.ok and not self._stop.requested and left <= LEAST:
            whose = progress["unit"] or "the application"
            within = f"{self._application.health_timeout:g} s"
            raise DeploymentFailed(f"{whose} is not healthy within {within}: {failure_text(outcome)}")
        return outcome.ok

    def _look(self, progress: Progress) -> Progress:
        """How the unit stands by now. Raises `DeploymentFailed` where it has ended since it came up."""
        if progress["unit"] == NO_UNIT:
            return progress
        status = self._unit(progress["unit"]).look(self._stop, self._action)
        if status.stopped:
            raise DeploymentFailed(f"{progress['unit']} was restarted and ended: {status.message}")
        return progress | {"pid": status.pid, "message": status.message}

    def _unit(self, name: str) -> Unit:
        return Unit(name, self._application.health_timeout)


def _begun() -> Progress:
    return {"since": clock.monotonic(), "boot": clock.boot_id()}


def ended(progress: Progress) -> bool:
    """Whether there is nothing more to do for a unit."""
    return progress["state"] in (HEALTHY, FAILED)
