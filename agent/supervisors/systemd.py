"""The supervisor of most hosts: a systemd unit."""

from agent.stop import Stop
from agent.supervisors.base import Status, Supervisor
from agent.supervisors.unit import Unit


class Systemd(Supervisor):
    """One unit. A unit that waits for its automatic restart is not stopped: only a stop ends that.

    `timeout` is how many seconds systemctl may take; the unit's own start and stop are not awaited.
    """

    def __init__(self, unit: str, timeout: float) -> None:
        self.subject = unit
        self._unit = Unit(unit, timeout)

    def status(self, stop: Stop, action: str | None = None) -> Status:
        unit = self._unit.look(stop, action)
        return Status(running=unit.running, stopped=unit.stopped, pid=unit.pid, message=unit.message)

    def start(self, stop: Stop, action: str | None = None) -> None:
        self._unit.ask("start", stop, action)

    def stop(self, stop: Stop, action: str | None = None) -> None:
        self._unit.ask("stop", stop, action)
