"""Restarts the units of an application and checks their health. Each call does a short piece."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agent import clock
from agent.config import Application
from agent.deployments.errors import DeploymentFailed
from agent.deployments.jobs import UMASK
from agent.models import Json
from agent.processes import command
from agent.processes.recording import Recorded
from agent.supervisors.base import CommandKilled, SupervisorFailed, failure_text
from agent.supervisors.systemd.unit import Unit
from agent.supervisors.systemd.unit_target import UnitProgress, UnitTarget
from agent.util import idempotent_restart
from agent.util.idempotent_restart import NOTED, RUNNING
from agent.util.stop import Stop

Progress = dict[str, Json]
HEALTHY, FAILED = "healthy", "failed"
"""States of a unit's progress beyond those of a restart."""
NO_UNIT = ""
"""Stands for an application without units: its health is checked all the same."""
LEAST = 1.0
"""Minimum timeout, in seconds, of the health command, also near the end of `health_timeout`."""


class Rollout:
    """The restarts of the units of one application, with the release in `cwd`.

    The methods take and return a list with the progress of each unit begun. The caller must store it on disk before
    the next call. All raise `SupervisorFailed`, `DeploymentFailed`, `CommandError`.
    """

    def __init__(self, application: Application, env: Mapping[str, str], cwd: Path, stop: Stop, action: str) -> None:
        self._application = application
        self._env = env
        self._cwd = cwd
        self._stop = stop
        self._action = action

    def invocations(self, names: Sequence[str]) -> dict[str, str | None]:
        """The current invocation id of each unit. Raises `SupervisorFailed` for a unit that cannot be restarted."""
        return {name: str(self._target(name).note().was) for name in names}

    def rolling(self, names: Sequence[str], done: list[Progress]) -> list[Progress]:
        """Restart one unit at a time: the next one only after this one is healthy."""
        if done and not ended(done[-1]):
            return [*done[:-1], self._advance(done[-1])]
        return [*done, self._note(names[len(done)])]

    def parallel(self, names: Sequence[str], done: list[Progress]) -> list[Progress]:
        """Restart all units at once."""
        if not done:
            return [self._note(name) for name in names]
        if any(each["state"] == "noted" for each in done):
            return [self._ask(each) for each in done]
        return [self._advance(each) for each in done]

    def give_up(self, names: Sequence[str], done: list[Progress], reason: str) -> list[Progress]:
        """Mark the current unit as failed, so that the next call takes the next one."""
        if done and not ended(done[-1]):
            return [*done[:-1], done[-1] | {"state": FAILED, "message": reason}]
        return [*done, {"unit": names[len(done)], "state": FAILED, "message": reason}]

    def have_left(self, noted: Mapping[str, str | None], done: list[Progress]) -> list[str]:
        """The units restarted since the switch, by the agent, a boot or a crash; the last one begun first."""
        states = {each["unit"]: each["state"] for each in reversed(done)}
        requested = {name for name, state in states.items() if state != "noted"}
        names = dict.fromkeys((*states, *noted))
        return [name for name in names if name in requested or self._was_started(name, noted.get(name))]

    def _was_started(self, name: str, was: str | None) -> bool:
        """Whether it was started since; true if that is unknown."""
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
            return UnitProgress(unit=name).now(RUNNING).payload()
        unit = self._unit(name)
        if not unit.look(self._stop, self._action).running:
            # systemd refuses to start a unit that crashed too often, until a reset.
            with suppress(SupervisorFailed):
                unit.ask("reset-failed", self._stop, self._action)
        return self._target(name).note().payload()

    def _ask(self, progress: Progress) -> Progress:
        if progress["state"] != NOTED:
            return progress
        return idempotent_restart.ask(self._target(progress["unit"]), UnitProgress.of(progress)).payload()

    def _advance(self, progress: Progress) -> Progress:
        if ended(progress):
            return progress
        restart = UnitProgress.of(progress)
        if restart.state != RUNNING or restart.boot != clock.boot_id():
            # After a reboot of the host, it must come up again, within a new timeout.
            if restart.unit == NO_UNIT:
                restart = restart.now(RUNNING)
            else:
                restart = idempotent_restart.advance(self._target(restart.unit), restart)
        if restart.state == RUNNING and self._is_healthy(restart):
            return self._look(restart).payload() | {"state": HEALTHY}
        return restart.payload()

    def _is_healthy(self, restart: UnitProgress) -> bool:
        if not self._application.health:
            return True
        self._look(restart)
        left = self._application.health_timeout - restart.waited
        outcome = command.run(
            self._application.health,
            timeout=max(LEAST, left),
            stop=self._stop,
            action=self._action,
            env={**self._env, "AGENT_UNIT": restart.unit},
            cwd=self._cwd,
            umask=UMASK,
            recorded=Recorded(),
        )
        if not outcome.ok and not self._stop.requested and left <= LEAST:
            whose = restart.unit or "the application"
            within = f"{self._application.health_timeout:g} s"
            raise DeploymentFailed(f"{whose} is not healthy within {within}: {failure_text(outcome)}")
        return outcome.ok

    def _look(self, restart: UnitProgress) -> UnitProgress:
        """The progress with the unit's current status. Raises `DeploymentFailed` if it ended after it came up."""
        if restart.unit == NO_UNIT:
            return restart
        status = self._unit(restart.unit).look(self._stop, self._action)
        if status.stopped:
            raise DeploymentFailed(f"{restart.unit} was restarted and ended: {status.message}")
        return replace(restart, pid=status.pid, message=status.message)

    def _unit(self, name: str) -> Unit:
        return Unit(name, self._application.health_timeout)

    def _target(self, name: str) -> UnitTarget:
        return UnitTarget(self._unit(name), self._application.health_timeout, self._stop, self._action)


def ended(progress: Progress) -> bool:
    """Whether a unit is final: healthy or failed."""
    return progress["state"] in (HEALTHY, FAILED)
