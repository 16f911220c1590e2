"""`process_restart`, `process_pause` and `process_resume`: act on the processes of the configuration."""

from typing import Any, ClassVar

from marshmallow import fields

from agent.config import Settings
from agent.kinds.base import Args, Done, Failed, NotOffered, Running, Step, StepResult
from agent.kinds.base.orphaned import give_up
from agent.kinds.base.server_argument import OnServer, ServerArgs
from agent.kinds.base.unit_log import with_journal
from agent.plan import Danger, Plan, Would, in_order, nothing, refuse
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.pid_file import PidFileTarget
from agent.supervisors.systemd.unit import SYSTEMCTL_TIMEOUT, Unit
from agent.supervisors.systemd.unit_target import UnitTarget
from agent.util import idempotent_restart
from agent.util.idempotent_restart import RUNNING, RestartTarget
from agent.util.stop import Stop

Entry = dict[str, Any]
Processes = UnitTarget | PidFileTarget


class ProcessArgs(ServerArgs):
    process_name = fields.String(metadata={"description": "The name of a configured process; default: all of them."})


class ProcessOutcome(Args):
    process = fields.String(required=True, metadata={"description": "Its name in the configuration."})
    how = fields.String(required=True, metadata={"description": "The change, or that none was needed."})
    pid = fields.String(allow_none=True, metadata={"description": "The main process after a restart."})


class ProcessResult(Args):
    """The result for each process."""

    processes = fields.List(
        fields.Nested(ProcessOutcome), required=True, metadata={"description": "One entry each, in order of execution."}
    )


class OnProcesses(OnServer):
    """A kind that acts on one configured process, or on all in their order.

    The payload is `{"processes": [{"process", "how", …}, …]}`; a last entry without `how` is in progress.
    """

    args = ProcessArgs
    result = ProcessResult
    resource_type = "Process"
    danger = Danger.DISRUPTS
    verb: ClassVar[str]
    would: ClassVar[Would] = Would.DISRUPT
    starts: ClassVar[bool] = False
    """Whether stopped processes are started."""
    configuration = "``[processes.NAME]``."
    privileges = (
        "To freeze, thaw and signal the units (``agentctl polkit``). To signal the processes of a pid file, the agent "
        "must run as their user."
    )
    interruption = "It continues with the current process; work that is done already is not repeated."

    def __init__(self, settings: Settings) -> None:
        if not settings.processes:
            raise NotOffered("set [processes.NAME] in the configuration")
        super().__init__(settings)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args.get("process_name", self.settings.agent.node)

    def misdirected(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        details = super().misdirected(loaded)
        if loaded.get("process_name") not in (None, *self.settings.processes):
            details["process_name"] = [f"the processes of this node are {', '.join(self.settings.processes)}"]
        return details

    def plan(self, args: Any) -> Plan:
        wanted = [args["process_name"]] if "process_name" in args else list(self.settings.processes)
        return in_order(f"would {self.verb} {', '.join(wanted)}", [self._plan_of(name) for name in wanted])

    def _plan_of(self, name: str) -> Plan:
        try:
            paused = self._of(name, Stop()).paused()
        except SupervisorFailed as error:
            return refuse(f"{name}: {error}", f"check [processes.{name}] in the configuration")
        if paused is None and not self.starts:
            return refuse(f"{name} is not running", f"start {name} first")
        if self.is_reached(paused):
            return nothing(f"{name} is already in the wanted state")
        return Plan(self.would, f"would {self.verb} {name}", steps=[f"{self.verb} {name}"])

    def is_reached(self, paused: bool | None) -> bool:
        """Whether these processes are already in the state that the action would reach; None: none of them runs."""
        return False

    def step(self, step: Step) -> StepResult:
        done, current = _so_far(step.payload)
        name = current["process"] if current else self._next(step, done)
        if name is None:
            return Done({"processes": done}, _summary(done))
        if self._is_gone(name, current):
            why = f"[processes.{name}] was changed or removed in the configuration"
            return give_up(type(self), self.settings, step, why)
        try:
            found, after = self.act(self._of(name, step.stop, step.action.id), current)
        except SupervisorFailed as error:
            return self._failed(name, error, done)
        return Running({"processes": [*done, {"process": name, **found}]}, after)

    # Each step reads the state first, and a restart is recorded before it is requested.
    resume = step

    @classmethod
    def describe_leftovers(cls, payload: Any) -> str:
        done, current = _so_far(payload)
        parts = [_summary(done)] if done else []
        return ", ".join([*parts, f"{current['process']}: its restart has started"] if current else parts)

    def _failed(self, name: str, why: SupervisorFailed, done: list[Entry]) -> Failed:
        message = f"{name}: {why}" + (f"; before it: {_summary(done)}" if done else "")
        return Failed(with_journal(self.settings, {"message": message, "processes": done}, why.journal), message)

    def act(self, processes: Processes, current: Entry | None) -> tuple[Entry, float]:
        """Do the next part of the work on one process. Returns the entry, which has `how` when the work is done, and
        the seconds until the next step."""
        raise NotImplementedError

    def _next(self, step: Step, done: list[Entry]) -> str | None:
        """The name of the next process in the order of the configuration, which may have changed meanwhile."""
        wanted = [step.args["process_name"]] if "process_name" in step.args else self.settings.processes
        begun = [each["process"] for each in done]
        return next((name for name in wanted if name not in begun), None)

    def _is_gone(self, name: str, current: Entry | None) -> bool:
        """Whether the process is no longer configured, or no longer configured as the unit or pid file of the entry."""
        named = self.settings.processes.get(name)
        return named is None or (current is not None and current["restart"].get("unit") != named.unit)

    def _of(self, name: str, stop: Stop, action: str | None = None) -> Processes:
        named = self.settings.processes[name]
        if named.unit is not None:
            return UnitTarget(Unit(named.unit, SYSTEMCTL_TIMEOUT), named.timeout, stop, action)
        return PidFileTarget(name, named, self.settings.agent.jobs, stop, action)


class PauseProcesses(OnProcesses):
    """Pause one configured process group, or all: a unit by systemd's freezer, otherwise by SIGSTOP. Done at once
    if it is paused."""

    name = "process_pause"
    verb = "pause"

    def is_reached(self, paused: bool | None) -> bool:
        return paused is True

    def act(self, processes: Processes, current: Entry | None) -> tuple[Entry, float]:
        return {"how": processes.pause()}, 0.0


class ResumeProcesses(OnProcesses):
    """Resume one paused process group of the configuration, or all. Done at once if it is not paused."""

    name = "process_resume"
    verb = "resume"
    would = Would.CHANGE

    def is_reached(self, paused: bool | None) -> bool:
        return paused is False

    def act(self, processes: Processes, current: Entry | None) -> tuple[Entry, float]:
        return {"how": processes.resume()}, 0.0


class RestartProcesses(OnProcesses):
    """Restart one configured process group, or all one after the other, and wait until each is up. A paused
    group is resumed first."""

    name = "process_restart"
    verb = "restart"
    starts = True
    configuration = "``[processes.NAME]``; with ``pid_file`` also its ``restart`` and ``timeout``."
    privileges = "To restart the units (``agentctl polkit``); for a pid file the permissions that the command needs."
    interruption = (
        "It continues with the current process. Each is restarted once: the invocation id of a unit shows whether it "
        "was restarted; the command for a pid file runs in a job that outlives the agent. If the host went down "
        "meanwhile, the action checks whether the pid file names another process, and fails if not."
    )

    def act(self, processes: RestartTarget[Any], current: Entry | None) -> tuple[Entry, float]:
        restart = idempotent_restart.step(processes, current and current["restart"])
        if restart.state == RUNNING:
            return {"how": "restarted", "pid": restart.pid}, 0.0
        return {"restart": restart.payload()}, restart.due

    def cancel(self, step: Step) -> None:
        _done, current = _so_far(step.payload)
        if current is None:
            return
        if self._is_gone(current["process"], current):
            give_up(type(self), self.settings, step, "")
        else:
            target: RestartTarget[Any] = self._of(current["process"], step.stop, step.action.id)
            target.cancel(target.progress.of(current["restart"]))


def _so_far(payload: Any) -> tuple[list[Entry], Entry | None]:
    """The finished entries, and the entry in progress or None."""
    entries: list[Entry] = [] if payload is None else payload["processes"]
    done = [each for each in entries if "how" in each]
    return done, entries[-1] if len(done) < len(entries) else None


def _summary(done: list[Entry]) -> str:
    return ", ".join(f"{each['process']}: {each['how']}" for each in done)
