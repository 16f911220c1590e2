"""Pauses and resumes a unit: systemd freezes it; if systemd cannot, SIGSTOP stops its processes."""

from agent.processes import cgroup
from agent.processes.process import stat_of
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.util.poll import poll
from agent.util.stop import Stop

BY_SIGNAL = "paused by a signal"
SIGNAL_WAIT = 5.0
"""Seconds that the processes of a unit get to stop or continue after the signal."""


def paused(unit: Unit, status: UnitStatus) -> bool:
    """Whether the unit is active, but all of its processes are frozen or stopped."""
    return status.frozen or _stopped(status) == "all"


def pause(unit: Unit, stop: Stop, action: str | None = None) -> str:
    """Pause it and wait until it is paused. Returns `frozen`, `paused by a signal` or `paused already`.

    Raises `SupervisorFailed`, also for a unit that is not running and for the agent's own unit.
    """
    status = unit.look(stop, action)
    if not status.running:
        raise SupervisorFailed(f"{unit.name} is not running and so cannot be paused: {status.message}")
    if paused(unit, status):
        return "paused already"
    if cgroup.is_ours(status.cgroup):
        raise SupervisorFailed(f"{unit.name} is the unit that the agent runs in: once frozen, it could not be resumed")
    if status.freezer == "frozen":
        # A state left by a process that died while frozen: systemd would assume that the new one is frozen.
        unit.ask("thaw", stop, action, status)
    try:
        unit.ask("freeze", stop, action, status)
        return f"frozen{_watchdog(status)}"
    except SupervisorFailed as refusal:
        # systemd claims that a unit can be frozen even if the host's cgroups cannot: only an attempt shows it.
        unfrozen = unit.look(stop, action).freezer in ("", "running")
        if stop.requested or not unfrozen or not cgroup.members(status.cgroup):
            raise
        _stop(unit, status, refusal, stop, action)
        return f"{BY_SIGNAL}{_watchdog(status)}"


def resume(unit: Unit, stop: Stop, action: str | None = None) -> str:
    """Resume it, however it was paused. Returns `thawed`, `continued` or `not paused`.

    Raises `SupervisorFailed`, also for a unit that is not running.
    """
    status = unit.look(stop, action)
    if not status.running:
        # It may be frozen while it is being stopped: systemd thaws no such unit.
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
    """Share of its processes that a signal has stopped: `all`, `some` or `none`."""
    stats = [stat for pid in cgroup.members(status.cgroup) if (stat := stat_of(pid)) is not None]
    stopped = [stat.state == "T" for stat in stats if stat.state not in "ZX"]
    if not any(stopped):
        return "none"
    return "all" if all(stopped) else "some"


def _await(unit: Unit, status: UnitStatus, wanted: str, stop: Stop) -> None:
    if not poll(lambda: _stopped(status) == wanted, SIGNAL_WAIT, stop):
        raise SupervisorFailed(f"{_stopped(status)} of the processes of {unit.name} are stopped, not {wanted}")
