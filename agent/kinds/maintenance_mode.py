"""`maintenance_mode`: turn the maintenance mode of this host on or off, by a flag file and configured commands."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from marshmallow import fields

from agent import clock
from agent.config import Settings
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult, failed
from agent.kinds.base.arguments import OnOff
from agent.maintenance import ON, TURNING_OFF, TURNING_ON, MaintenanceFlag, Mark
from agent.models import Json
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.processes import command
from agent.processes.command import CommandNotStarted
from agent.processes.recording import Recorded

TAIL = 2048
"""Bytes of a failed command's output that the message contains."""


class MaintenanceArgs(Args):
    value = OnOff(required=True, metadata={"description": "1, true or on: turn it on; 0, false or off: turn it off."})


class MaintenanceResult(Args):
    """The maintenance mode after the action."""

    maintenance = fields.Boolean(required=True, metadata={"description": "Whether maintenance mode is on."})
    since = fields.String(
        required=True, allow_none=True, metadata={"description": "The time of the flag file; null if off."}
    )
    flag = fields.String(required=True, metadata={"description": "The flag file; it exists while the mode is on."})
    again = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "The numbers, from 1, of commands that were run again after an interruption."},
    )


class MaintenanceMode(Kind):
    """Turn maintenance mode on or off. Done at once if it is in that state; after a failure all commands run again.

    The flag file exists from before the first command of `on` until after the last command of `off`. While it exists,
    the kinds of `maintenance.holds` are held in the queue.
    """

    name = "maintenance_mode"
    args = MaintenanceArgs
    result = MaintenanceResult
    resource_type = "Stack"
    danger = Danger.DISRUPTS
    can_be_held: ClassVar[bool] = False
    configuration = (
        "``[maintenance]``. If a web server reads ``flag``, put it in a folder that the web server may read: the "
        "folder of ``agent.db`` is not one. ``holds`` names the kinds that are held meanwhile."
    )
    privileges = "To write in the folder of the flag, and the permissions that the commands need."
    interruption = (
        "The interrupted command is run again, and the result names it: every command must be harmless to repeat."
    )

    def __init__(self, settings: Settings) -> None:
        if settings.maintenance is None:
            raise NotOffered("set [maintenance] in the configuration")
        super().__init__(settings)
        self._maintenance = settings.maintenance
        self._flag = MaintenanceFlag.of(settings)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self.settings.agent.stack

    def plan(self, args: Any) -> Plan:
        wanted, how = args["value"], "on" if args["value"] else "off"
        try:
            mark = self._flag.read()
        except OSError as error:
            return refuse(f"the flag {self._flag.path} cannot be read: {error.strerror}", "check maintenance.flag")
        facts = {"flag": str(self._flag.path), "state": mark.state if mark else "off"}
        if self._is_reached(wanted, mark):
            return nothing(f"maintenance mode is {how} already", facts=facts)
        steps = [f"run {argv[0]}" for argv in self._commands(wanted)]
        return Plan(Would.CHANGE, f"maintenance mode would be turned {how}", steps=steps, facts=facts)

    def _is_reached(self, wanted: bool, mark: Mark | None) -> bool:
        return wanted == (mark is not None) and (mark is None or mark.state == ON)

    def step(self, step: Step) -> StepResult:
        try:
            return self._begin(step) if step.payload is None else self._advance(step, step.payload)
        except (_NotChanged, CommandNotStarted) as reason:
            return self._failed(step, str(reason))
        except OSError as error:
            why = f"the flag {self._flag.path} cannot be read: {error.strerror}"
            return failed(why, payload=step.payload, flag=str(self._flag.path))

    def resume(self, step: Step) -> StepResult:
        if step.payload is None or step.payload["ran"] >= len(self._commands(step.args["value"])):
            return self.step(step)  # no command was begun, or none is left
        again = [*step.payload["again"], step.payload["ran"] + 1]
        return self.step(replace(step, payload=step.payload | {"again": again}))

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        return f"{payload['ran']} of {payload['of']} commands were run, and the flag is unchanged: {payload['state']}"

    def _begin(self, step: Step) -> StepResult:
        """Record the intended change before the flag or any command changes something."""
        mark = self._flag.read()
        if self._is_reached(step.args["value"], mark):
            return self._done(step, [], "already")
        turning = TURNING_ON if step.args["value"] else TURNING_OFF
        return Running({"state": turning, "ran": 0, "of": len(self._commands(step.args["value"])), "again": []})

    def _advance(self, step: Step, payload: Json) -> StepResult:
        """Run the next command. After the last one, set or remove the flag."""
        commands, ran = self._commands(step.args["value"]), payload["ran"]
        if ran == 0:
            self._mark(step, payload["state"])
        if ran < len(commands):
            self._run(step, commands[ran])
            return Running(payload | {"ran": ran + 1})
        if step.args["value"]:
            self._mark(step, ON)
        else:
            self._change(self._flag.remove)
        return self._done(step, payload["again"], "now")

    def _mark(self, step: Step, state: str) -> None:
        mark = self._flag.read()
        since = mark.since if mark else str(clock.rfc3339(clock.now()))
        self._change(lambda: self._flag.write(Mark(state, since, step.action.user, step.action.id)))

    def _change(self, change: Callable[[], None]) -> None:
        try:
            change()
        except OSError as error:
            raise _NotChanged(f"the flag {self._flag.path} cannot be changed: {error.strerror}") from error

    def _commands(self, on: bool) -> tuple[tuple[str, ...], ...]:
        return self._maintenance.on if on else self._maintenance.off

    def _run(self, step: Step, argv: tuple[str, ...]) -> None:
        """Run the command. Raises `_NotChanged` if it fails, `CommandNotStarted`."""
        timeout, action = self._maintenance.timeout, step.action.id
        outcome = command.run(
            argv,
            timeout=timeout,
            stop=step.stop,
            action=action,
            version=step.version,
            tail=TAIL,
            recorded=Recorded(f"$ {shlex.join(argv)}"),
        )
        if not outcome.ok:
            raise _NotChanged(": ".join(filter(None, (outcome.describe(), _last_line(outcome)))))

    def _done(self, step: Step, again: list[int], when: str) -> Done:
        mark = self._flag.read()
        result = {
            "maintenance": step.args["value"],
            "since": mark.since if mark else None,
            "flag": str(self._flag.path),
            "again": again,
        }
        return Done(result, f"maintenance mode is {'on' if step.args['value'] else 'off'} {when}")

    def _failed(self, step: Step, why: str) -> Failed:
        mark = self._flag.read()
        message = f"{why}; maintenance mode is {mark.state if mark else 'off'}"
        return failed(message, payload=step.payload, flag=str(self._flag.path))


class _NotChanged(Exception):
    """Maintenance mode was not changed; the message names the command with its last output, or the flag."""


def _last_line(outcome: command.CommandResult) -> str:
    lines = (outcome.stderr.strip() or outcome.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else ""
