"""The supervisor of most hosts: a systemd unit."""

from collections.abc import Callable

from agent.supervisors.base import Status, Supervisor
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.util.stop import Stop


class Systemd(Supervisor):
    """One unit. While it waits for its automatic restart it is not stopped: only a stop ends that.

    One request to systemd may take `timeout` seconds; it does not wait for the unit's start or stop.
    """

    stays_stopped = True

    def __init__(self, unit: str, timeout: float) -> None:
        self.subject = unit
        self._unit = Unit(unit, timeout)

    def status(self, stop: Stop, action: str | None = None) -> Status:
        return _status(self._unit.look(stop, action))

    def start(self, stop: Stop, action: str | None = None) -> None:
        before = self._unit.look(stop, action)
        self._unit.allow_start(stop, action, before)
        self._unit.ask("start", stop, action, before)

    def stop(self, stop: Stop, action: str | None = None) -> None:
        self._unit.ask("stop", stop, action)

    def allow_start(self, stop: Stop, action: str | None = None) -> None:
        self._unit.allow_start(stop, action)
        self._unit.check_start(stop, action)

    def watch(self, left: Callable[[Status], float], seconds: float, stop: Stop, action: str | None = None) -> Status:
        return _status(self._unit.watch(lambda unit: left(_status(unit)), seconds, stop, action))

    def journal(self, seconds: float) -> list[str]:
        return self._unit.journal(seconds)


def _status(unit: UnitStatus) -> Status:
    return Status(
        running=unit.running, stopped=unit.stopped, pid=unit.pid, message=unit.message, ready=unit.ready, age=unit.age
    )  # fmt: skip
