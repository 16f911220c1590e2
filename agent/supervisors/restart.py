"""Restart one unit once, however often whoever asks is interrupted: its invocation tells whether it was."""

from contextlib import suppress

from agent import clock
from agent.hosts import cgroup
from agent.models import Json
from agent.stop import Stop
from agent.supervisors import freezer
from agent.supervisors.base import CommandKilled, SupervisorFailed
from agent.supervisors.unit import Unit, UnitStatus

FIRST_LOOKS = (0.02, 0.04, 0.08, 0.16)
"""Seconds before each of the looks that follow the request at once: most units are that fast."""
STAYS = 0.2
"""Seconds that a unit must have been running: one that dies at once is running for a moment too."""
NEVER_STARTED = ""
"""The invocation of a unit that was not started since the boot."""

Progress = dict[str, Json]
"""`{"unit", "state", "was", "pid", "message"}`: how far it is, to be written down after each call.

`state` is `noted`, `restarting` or `running`; `was` is the unit's invocation before.
"""


def note(unit: Unit, stop: Stop, action: str | None = None) -> Progress:
    """What is to be on disk before `go_on` is first called. Raises `SupervisorFailed`."""
    before = unit.look(stop, action)
    return {
        "unit": unit.name, "state": "noted", "was": before.invocation, "pid": before.pid, "message": before.message
    }  # fmt: skip


def go_on(unit: Unit, progress: Progress, timeout: float, stop: Stop, action: str | None = None) -> Progress:
    """Ask for the restart unless it was done, and look whether the unit is up, for a moment.

    Raises `SupervisorFailed` where it came up and failed, or is not up `timeout` seconds after it was asked for.
    """
    status = unit.look(stop, action)
    # What was asked for before a reboot is not on its way any more, and the clock began anew.
    if progress["state"] == "noted" or progress["boot"] != clock.boot_id():
        progress = _asked(unit, progress, status, stop, action)
        if status.invocation == progress["was"] and cgroup.is_ours(status.cgroup):
            return progress
    status = _look_quickly(unit, progress, stop, action)
    if _is_up(status, progress) and not stop.wait(STAYS):
        again = unit.look(stop, action)
        if _is_up(again, progress) and again.invocation == status.invocation:
            return _told(progress, again, "running")
        status = again
    _refuse_what_will_not_come(unit, status, progress, timeout)
    return _told(progress, status, "restarting")


def ask(unit: Unit, progress: Progress, stop: Stop, action: str | None = None) -> Progress:
    """Ask for the restart that was noted, unless it was done, and do not wait: for several at once."""
    return _asked(unit, progress, unit.look(stop, action), stop, action)


def _asked(unit: Unit, progress: Progress, status: UnitStatus, stop: Stop, action: str | None) -> Progress:
    if status.invocation in (progress["was"], NEVER_STARTED):
        if cgroup.is_ours(status.cgroup):
            _ask_for_our_own(unit, stop, action)
        else:
            _ask(unit, status, stop, action)
    progress = progress | {"since": clock.monotonic(), "boot": clock.boot_id()}
    return _told(progress, status, "restarting")


def _ask(unit: Unit, status: UnitStatus, stop: Stop, action: str | None) -> None:
    # What is paused cannot end.
    if freezer.paused(unit, status):
        freezer.resume(unit, stop, action)
    unit.ask("restart", stop, action)


def _ask_for_our_own(unit: Unit, stop: Stop, action: str | None) -> None:
    """We end with it, and every command of ours too: whoever comes after us looks."""
    with suppress(CommandKilled):
        unit.ask("restart", stop, action)


def _look_quickly(unit: Unit, progress: Progress, stop: Stop, action: str | None) -> UnitStatus:
    status = unit.look(stop, action)
    for seconds in FIRST_LOOKS:
        if _is_up(status, progress) or stop.wait(seconds):
            break
        status = unit.look(stop, action)
    return status


def _is_up(status: UnitStatus, progress: Progress) -> bool:
    return status.running and status.invocation != progress["was"]


def _refuse_what_will_not_come(unit: Unit, status: UnitStatus, progress: Progress, timeout: float) -> None:
    if status.active == "failed" and status.stopped and status.invocation != progress["was"]:
        raise SupervisorFailed(f"{unit.name} was restarted and failed: {status.message} (journalctl -u {unit.name})")
    waited = clock.monotonic() - progress["since"]
    if waited > timeout:
        raise SupervisorFailed(f"{unit.name} is not up {timeout:g} s after its restart: {status.message}")


def _told(progress: Progress, status: UnitStatus, state: str) -> Progress:
    return progress | {"state": state, "pid": status.pid, "message": status.message}
