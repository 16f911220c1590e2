"""The contract for the processes of `[processes.NAME]`: paused, let go on and restarted as one."""

from abc import ABC, abstractmethod
from typing import Any

from agent.supervisors.systemd import freezer, unit_restart
from agent.supervisors.systemd.unit import Unit
from agent.util.stop import Stop

Progress = dict[str, Any]
"""How far a restart is, to be written down after each call. `state` is `running` once it is done, then with `pid`."""


class Processes(ABC):
    """Every call ends early where `stop` is requested; `action` is the id of the action it is done for.

    All raise `SupervisorFailed`.
    """

    @abstractmethod
    def paused(self, stop: Stop) -> bool | None:
        """Whether all of them are paused; None where none of them runs."""

    @abstractmethod
    def pause(self, stop: Stop, action: str) -> str:
        """Pause them and await that they are; how, for people: `paused already` where they were."""

    @abstractmethod
    def resume(self, stop: Stop, action: str) -> str:
        """Let them go on; how, for people: `not paused` where they were not."""

    @abstractmethod
    def note(self, stop: Stop, action: str) -> Progress:
        """What is to be on disk before `advance` is first called."""

    @abstractmethod
    def advance(self, progress: Progress, stop: Stop, action: str) -> Progress:
        """Restart them unless that was begun, let go on what is paused, and look whether they are up."""

    def due(self, progress: Progress) -> float:
        """Seconds until `advance` is to be called again; 0 where it waits itself."""
        return 0.0

    @abstractmethod
    def cancel(self, progress: Progress) -> None:
        """End what of a restart runs on our behalf."""


class OfUnit(Processes):
    """Those of a systemd unit, which get `timeout` seconds to be up again."""

    def __init__(self, unit: Unit, timeout: float) -> None:
        self._unit, self._timeout = unit, timeout

    def paused(self, stop: Stop) -> bool | None:
        status = self._unit.look(stop)
        paused = freezer.paused(self._unit, status)
        return paused if paused or status.running else None

    def pause(self, stop: Stop, action: str) -> str:
        return freezer.pause(self._unit, stop, action)

    def resume(self, stop: Stop, action: str) -> str:
        return freezer.resume(self._unit, stop, action)

    def note(self, stop: Stop, action: str) -> Progress:
        return unit_restart.note(self._unit, stop, action)

    def advance(self, progress: Progress, stop: Stop, action: str) -> Progress:
        return unit_restart.advance(self._unit, progress, self._timeout, stop, action)

    def due(self, progress: Progress) -> float:
        return unit_restart.due(progress)

    def cancel(self, progress: Progress) -> None:
        """What was asked of systemd is systemd's."""
