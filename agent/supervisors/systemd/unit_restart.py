"""Idempotent restart of one unit: compares its InvocationID with the value stored before the request."""

import math
from contextlib import suppress

from agent import clock
from agent.models import Json
from agent.processes import cgroup
from agent.processes.rest import RestCheck
from agent.supervisors.base import CommandKilled, SupervisorFailed
from agent.supervisors.systemd import freezer
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.util.stop import Stop

WATCH = 1.0
"""Seconds that one call of `advance` watches the unit; the agent may be stopped between two."""
DUE = 0.05
"""Seconds until `advance` is to be called again. It is longer only where the agent ends with the unit."""
LOG_BEFORE = 0.5
"""Seconds before the request from which on the log is repeated: the clocks are not read at once."""
NEVER_STARTED = ""
"""The invocation of a unit that was not started since the boot."""

Progress = dict[str, Json]
"""`{"unit", "state", "was", "pid", "message"}`: how far it is, to be written down after each call.

`state` is `noted`, `restarting` or `running`; `was` is the unit's invocation before.
"""


def note(unit: Unit, stop: Stop, action: str | None = None) -> Progress:
    """What is to be on disk before `advance` is first called. Raises `SupervisorFailed`."""
    before = unit.look(stop, action)
    return {
        "unit": unit.name, "state": "noted", "was": before.invocation, "pid": before.pid, "message": before.message
    }  # fmt: skip


def due(progress: Progress) -> float:
    """Seconds until `advance` is to be called again."""
    return DUE if progress["state"] == "restarting" else 0.0


def advance(unit: Unit, progress: Progress, timeout: float, stop: Stop, action: str | None = None) -> Progress:
    """Ask for the restart unless it was done, and watch the unit for a moment until it is up.

    Raises `SupervisorFailed` at once where it has failed or will not start, and where it is not up `timeout` seconds
    after it was asked for.
    """
    # A request from before a reboot is no longer pending, and the monotonic clock has restarted.
    if progress["state"] == "noted" or progress["boot"] != clock.boot_id():
        status = unit.look(stop, action)
        progress = _asked(unit, progress, status, stop, action)
        if status.invocation == progress["was"] and cgroup.is_ours(status.cgroup):
            return progress
    left, rest = timeout - (clock.monotonic() - progress["since"]), RestCheck()
    status = unit.watch(lambda status: _left(status, progress, rest), min(WATCH, max(left, 0.0)), stop, action)
    if _left(status, progress, rest) == 0 and not _came_to_nothing(status, progress):
        return _told(progress, status, "running")
    if not stop.requested:
        _refuse_what_will_not_come(unit, status, progress, timeout)
    return _told(progress, status, "restarting")


def ask(unit: Unit, progress: Progress, stop: Stop, action: str | None = None) -> Progress:
    """Ask for the restart that was noted, unless it was done, and do not wait: for several at once."""
    return _asked(unit, progress, unit.look(stop, action), stop, action)


def _asked(unit: Unit, progress: Progress, status: UnitStatus, stop: Stop, action: str | None) -> Progress:
    if status.queued and status.invocation == progress["was"]:
        # Perhaps by us, before we were interrupted: what it comes to is seen once it has ended.
        status = unit.watch(lambda status: math.inf if status.queued else 0.0, WATCH, stop, action)
    if status.invocation in (progress["was"], NEVER_STARTED):
        if cgroup.is_ours(status.cgroup):
            _ask_for_our_own(unit, status, stop, action)
        else:
            _ask(unit, status, stop, action)
    progress = progress | {"since": clock.monotonic(), "boot": clock.boot_id()}
    return _told(progress, status, "restarting")


def _ask(unit: Unit, status: UnitStatus, stop: Stop, action: str | None) -> None:
    unit.allow_start(stop, action, status)
    # What is paused cannot end; what systemd is ending already cannot be resumed.
    if freezer.paused(unit, status) and status.running:
        freezer.resume(unit, stop, action)
    unit.ask("restart", stop, action, status)


def _ask_for_our_own(unit: Unit, status: UnitStatus, stop: Stop, action: str | None) -> None:
    """The agent ends with it, and every command of it too: the next agent looks."""
    unit.allow_start(stop, action, status)
    with suppress(CommandKilled):
        unit.ask("restart", stop, action, status)


def _left(status: UnitStatus, progress: Progress, rest: RestCheck) -> float:
    """Seconds until the next look: 0 for up, and for what no job of systemd will change any more."""
    if _came_to_nothing(status, progress):
        return 0.0
    return status.stays(rest) if status.running and status.invocation != progress["was"] else math.inf


def _came_to_nothing(status: UnitStatus, progress: Progress) -> bool:
    """Whether systemd has ended the restart otherwise than with a unit that runs."""
    return status.stopped or (status.running and not status.queued and status.invocation == progress["was"])


def _refuse_what_will_not_come(unit: Unit, status: UnitStatus, progress: Progress, timeout: float) -> None:
    waited = clock.monotonic() - progress["since"]
    if _came_to_nothing(status, progress):
        how = "failed" if status.active == "failed" else "has ended" if status.stopped else "was not"
        why = f"{unit.name} was restarted and {how}: {status.message} (journalctl -u {unit.name})"
        raise SupervisorFailed(why, unit.journal(waited + LOG_BEFORE))
    if waited > timeout:
        why = f"{unit.name} is not up {timeout:g} s after its restart: {status.message}"
        raise SupervisorFailed(why, unit.journal(waited + LOG_BEFORE))


def _told(progress: Progress, status: UnitStatus, state: str) -> Progress:
    return progress | {"state": state, "pid": status.pid, "message": status.message}
