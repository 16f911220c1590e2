"""A systemd unit as a target of restart, pause and resume. Its InvocationID changes with every start."""

import math
from dataclasses import dataclass

from agent.processes import cgroup
from agent.processes.rest import RestCheck
from agent.supervisors.base import CommandKilled, SupervisorFailed
from agent.supervisors.systemd import freezer
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.util.idempotent_restart import RESTARTING, RUNNING, Look, RestartProgress, RestartTarget
from agent.util.stop import Stop

WATCH = 1.0
"""Seconds that one look watches the unit. The agent may be stopped between two looks."""
LOG_BEFORE = 0.5
"""Seconds before the request from which the message repeats the log: the two clocks are not read at one moment."""
NEVER_STARTED = ""
"""The invocation of a unit without a start since the boot."""


@dataclass(frozen=True, kw_only=True)
class UnitProgress(RestartProgress):
    unit: str
    pid: str | None = None
    message: str = ""


class UnitTarget(RestartTarget[UnitProgress]):
    """All methods raise `SupervisorFailed`; `action` is the id of the action that makes the calls."""

    progress = UnitProgress

    def __init__(self, unit: Unit, timeout: float, stop: Stop, action: str | None = None) -> None:
        super().__init__(timeout, stop)
        self.unit, self._action = unit, action
        self._before: UnitStatus
        self._ends_the_agent = False

    def paused(self) -> bool | None:
        """Whether the unit is paused; None if it does not run."""
        status = self.unit.look(self.stop, self._action)
        paused = freezer.paused(self.unit, status)
        return paused if paused or status.running else None

    def pause(self) -> str:
        return freezer.pause(self.unit, self.stop, self._action)

    def resume(self) -> str:
        return freezer.resume(self.unit, self.stop, self._action)

    def note(self) -> UnitProgress:
        status = self.unit.look(self.stop, self._action)
        if status.masked:
            raise SupervisorFailed(f"Unit {self.unit.name} is masked: run systemctl unmask {self.unit.name}")
        if status.never_up:
            raise SupervisorFailed(f"{self.unit.name} is Type=oneshot and would not stay up: set RemainAfterExit=yes")
        return UnitProgress(unit=self.unit.name, was=status.invocation, pid=status.pid, message=status.message)

    def has_changed(self, restart: UnitProgress) -> bool:
        status = self.unit.look(self.stop, self._action)
        if status.queued and status.invocation == restart.was:
            # The job may be ours, from before an interruption: its result is known only at its end.
            status = self.unit.watch(lambda now: math.inf if now.queued else 0.0, WATCH, self.stop, self._action)
        self._before = status
        return status.invocation not in (restart.was, NEVER_STARTED)

    def ask(self, restart: UnitProgress) -> None:
        unit, status = self.unit, self._before
        unit.allow_start(self.stop, self._action, status)
        # A paused unit cannot end; a unit that systemd is already stopping cannot be resumed.
        if freezer.paused(unit, status) and status.running:
            freezer.resume(unit, self.stop, self._action)
        self._ends_the_agent = cgroup.is_ours(status.cgroup)
        try:
            unit.ask("restart", self.stop, self._action, status)
        except CommandKilled:
            if not self._ends_the_agent:
                raise

    def look(self, restart: UnitProgress, seconds: float) -> Look:
        if self._ends_the_agent:  # and all its commands: the next agent process looks
            return Look(RESTARTING)
        rest = RestCheck()

        def has_failed(status: UnitStatus) -> bool:
            """Whether systemd has finished the restart, but the unit does not run or is the old invocation."""
            return status.stopped or (status.running and not status.queued and status.invocation == restart.was)

        def left(status: UnitStatus) -> float:
            """Seconds until the next look: 0 if the unit is up, or if the restart has failed."""
            if has_failed(status):
                return 0.0
            return status.stays(rest) if status.running and status.invocation != restart.was else math.inf

        status = self.unit.watch(left, min(WATCH, seconds), self.stop, self._action)
        shown, name = {"pid": status.pid, "message": status.message}, self.unit.name
        if has_failed(status):
            ended = "was restarted and failed" if status.active == "failed" else "was restarted and has ended"
            how = ended if status.stopped else "was not restarted"
            failed = f"{name} {how}: {status.message} (journalctl -u {name})"
            return Look(RESTARTING, shown, failed=failed)
        lacks = f"{name} is not up {self.timeout:g} s after its restart: {status.message}"
        return Look(RUNNING if left(status) == 0 else RESTARTING, shown, lacks=lacks)

    def failure(self, why: str, waited: float) -> SupervisorFailed:
        return SupervisorFailed(why, self.unit.journal(waited + LOG_BEFORE))
