"""Pause a unit and let it go on: frozen by systemd, or its processes stopped where systemd cannot."""

from agent.processes import cgroup
from agent.processes.process import stat_of
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.util.poll import poll
from agent.util.stop import Stop

BY_SIGNAL = "paused by a signal"
SIGNAL_WAIT = 5.0
"""Seconds that the processes of a unit get to stop, or to go on, once they were sent the signal."""


def paused(unit: Unit, status: UnitStatus) -> bool:
    """Whether nothing of the unit runs, though it has not ended."""
    return status.frozen or _stopped(status) == "all"


def pause(unit: Unit, stop: Stop, action: str | None = None) -> str:
    """Pause it and await that it is; how: `frozen`, `paused by a signal`, or `paused already`.

    Raises `SupervisorFailed`, also for a unit that is not running or that the agent itself is in.
    """
    status = unit.look(stop, action)
    if not status.running:
        raise SupervisorFailed(f"{unit.name} is not running and so cannot be paused: {status.message}")
    if paused(unit, status):
        return "paused already"
    if cgroup.is_ours(status.cgroup):
        raise SupervisorFailed(f"{unit.name} is the unit that the agent runs in: once frozen, it could not be resumed")
    if status.freezer == "frozen":
        # Left from a process that died while it was frozen: systemd would take the new one for frozen already.
        unit.ask("thaw", stop, action, status)
    try:
        unit.ask("freeze", stop, action, status)
        return f"frozen{_watchdog(status)}"
    except SupervisorFailed as refusal:
        # systemd says that a unit can be frozen also where the control groups of the host cannot: only a try shows it.
        unfrozen = unit.look(stop, action).freezer in ("", "running")
        if stop.requested or not unfrozen or not cgroup.members(status.cgroup):
            raise
        _stop(unit, status, refusal, stop, action)
        return f"{BY_SIGNAL}{_watchdog(status)}"


def resume(unit: Unit, stop: Stop, action: str | None = None) -> str:
    """Let it go on, however it was paused; how: `thawed`, `continued`, or `not paused`.

    Raises `SupervisorFailed`, also for a unit that is not running.
    """
    status = unit.look(stop, action)
    if not status.running:
        # Also where it is frozen: systemd is ending it, and resumes nothing that is on its way down.
        raise SupervisorFailed(f"{unit.name} is not running: {status.message}")
    how = "not paused"
    if status.frozen:
        unit.ask("thaw", stop, action, status)
        how = "thawed"
    if _stopped(status) != "none":
        unit.signal("SIGCONT", stop, action)
        _await(unit, status, "none", stop)
        how = "continued"
    return how


def _watchdog(status: UnitStatus) -> str:
    if not status.watchdog:
        return ""
    return f"; systemd kills it unless it is resumed within its WatchdogSec of {status.watchdog:g} s"


def _stop(unit: Unit, status: UnitStatus, refusal: SupervisorFailed, stop: Stop, action: str | None) -> None:
    try:
        unit.signal("SIGSTOP", stop, action)
    except SupervisorFailed as error:
        raise SupervisorFailed(f"{refusal}; {error}") from None
    _await(unit, status, "all", stop)


def _stopped(status: UnitStatus) -> str:
    """How many of its processes a signal has stopped: `all`, `some` or `none`."""
    stats = [stat for pid in cgroup.members(status.cgroup) if (stat := stat_of(pid)) is not None]
    stopped = [stat.state == "T" for stat in stats if stat.state not in "ZX"]
    if not any(stopped):
        return "none"
    return "all" if all(stopped) else "some"


def _await(unit: Unit, status: UnitStatus, wanted: str, stop: Stop) -> None:
    if not poll(lambda: _stopped(status) == wanted, SIGNAL_WAIT, stop):
        raise SupervisorFailed(f"of the processes of {unit.name} {_stopped(status)} are stopped, not {wanted}")
