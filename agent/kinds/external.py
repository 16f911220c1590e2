"""`external.<name>`: actions of the configuration. One command starts the work, another reports its status."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from marshmallow import Schema, fields

from agent.auth import configured_secrets
from agent.config import ExternalAction, ExternalArgument, Settings
from agent.kinds.base import Args, Done, Failed, Kind, Running, Step, StepResult
from agent.kinds.base.arguments import Flag, Number, Whole
from agent.kinds.base.masking import mask_names_too, spellings
from agent.models import Json
from agent.plan import Danger, Plan, unknown
from agent.processes import command
from agent.processes.command import CommandNotStarted
from agent.processes.recording import Recorded
from agent.util import strict_json
from agent.util.nesting_depth import DEPTH, too_deep

TAIL = 16384
"""Bytes kept of each output. A report must be shorter, because it is read from the kept bytes."""
FIELDS: dict[str, Callable[..., "fields.Field[Any]"]] = {
    "string": fields.String,
    "integer": Whole,
    "number": Number,
    "boolean": Flag,
    "list": lambda **options: fields.List(fields.Raw(allow_none=True), **options),
    "object": lambda **options: fields.Dict(keys=fields.String(), **options),
}
STATUSES = ("running", "finished", "failed")


class External(Kind):
    """An action of the configuration. Cancel and timeout do not end processes that its commands left running.

    `action` is run once, then `check` until it reports a status other than "running". The payload is
    `{"status": "started"}`, then the report of `check` with the status "running" or "finished", and on failure
    `{"status": "failed", "error", "command", "exit_status", "stdout", "stderr"}` of the last command.
    """

    name = "external"
    danger = Danger.DISRUPTS
    configuration = "``[external_actions.NAME]``."
    privileges = "The permissions that its commands need."
    interruption = (
        "``check`` is run again. An interrupted ``action`` is not: it fails and may or may not have taken effect."
    )

    def __init__(self, settings: Settings, name: str, declared: ExternalAction) -> None:
        super().__init__(settings, schema_of(declared.args or {}))
        self.name = f"external.{name}"
        self._declared = declared
        self._declares_args = declared.args is not None
        self._configured = configured_secrets.places(settings)

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        for name, declared in settings.external_actions.items():
            yield cls(settings, name, declared)

    @property
    def description(self) -> str:
        return self._declared.description or f"Run {self._declared.action[0]}, an action defined on this node."

    def args_schema(self) -> dict[str, Any]:
        """Any JSON is accepted if the configuration declares no `args`: the commands validate it."""
        return super().args_schema() if self._declares_args else {}

    def load(self, args: Json) -> Any:
        return super().load(args) if self._declares_args else args

    def plan(self, args: Any) -> Plan:
        argv = self._declared.action
        steps = [f"run {argv[0]}", f"run {self._declared.check[0]} until it reports the end"]
        return unknown(f"{self.name} would run {argv[0]}; the agent cannot tell what that changes", steps=steps)

    def step(self, step: Step) -> StepResult:
        try:
            return self._check(step) if step.payload else self._act(step)
        except _CommandFailed as failed:
            return Failed(failed.payload, str(failed))

    def resume(self, step: Step) -> StepResult:
        """`check` can be repeated. Whether `action` took effect is unknown until its end was recorded."""
        if step.payload:
            return self.step(step)
        interrupted = super().resume(step)
        return replace(interrupted, payload={"status": "failed"} | interrupted.payload)

    def _act(self, step: Step) -> StepResult:
        self._run(self._declared.action, step, Recorded(f"$ {shlex.join(self._declared.action)}"))
        return Running({"status": "started"})

    def _check(self, step: Step) -> StepResult:
        outcome = self._run(self._declared.check, step, Recorded(stdout=False))
        report = _report(outcome)
        shown = mask_names_too(report, self._secrets(step))
        if report["status"] == "running":
            return Running(shown, after=self._declared.interval)
        if report["status"] == "finished":
            return Done(shown, f"{self.name} has finished")
        raise _CommandFailed(str(report.get("error") or f"{self.name} has failed"), outcome)

    def _run(self, argv: Sequence[str], step: Step, recorded: Recorded) -> command.CommandResult:
        """Run one of the two commands. Raises `_CommandFailed` unless it succeeds."""
        try:
            outcome = command.run(
                argv,
                stdin=_stdin(step),
                timeout=self._declared.timeout,
                stop=step.stop,
                action=step.action.id,
                version=step.version,
                env=command.passed_on(),
                tail=TAIL,
                recorded=recorded,
            )
        except CommandNotStarted as error:
            raise _CommandFailed(str(error), command.CommandResult(tuple(argv), None, "", "", None)) from error
        outcome = without_remnants(outcome, self._secrets(step))
        if not outcome.ok:
            raise _CommandFailed(outcome.describe(), outcome)
        return outcome

    def _secrets(self, step: Step) -> list[str]:
        """The secrets that its commands may print: of the arguments and of the configuration."""
        of_args = [step.args[name] for name in self.secret_fields if step.args.get(name)] if self.secret_fields else []
        return [*of_args, *configured_secrets.read(self._configured)]


def schema_of(declared: Mapping[str, ExternalArgument]) -> Schema:
    """The schema of the arguments that a configuration declares."""
    return Args.from_dict({name: _field(each) for name, each in declared.items()})()


def _field(declared: ExternalArgument) -> "fields.Field[Any]":
    metadata = {name: getattr(declared, name) for name in ("description", "secret") if getattr(declared, name)}
    return FIELDS[declared.type](required=declared.required, metadata=metadata)


def without_remnants(outcome: command.CommandResult, secrets: Sequence[str]) -> command.CommandResult:
    """The outcome without a partial secret at the beginning of an output that was cut there.

    The code that records the outcome masks whole secrets; it does not recognize a part of a secret.
    """
    return replace(outcome, stdout=_whole(outcome.stdout, secrets), stderr=_whole(outcome.stderr, secrets))


def _whole(output: str, secrets: Sequence[str]) -> str:
    if len(output.encode()) < TAIL:
        return output
    output = output.lstrip("\ufffd")
    return output[max((_overlap(secret, output) for secret in spellings(secrets)), default=0) :]


def _overlap(secret: str, output: str) -> int:
    """Length of the longest proper suffix of a secret that the output begins with.

    A secret may be as long as a request body, so suffixes longer than the output are not tried.
    """
    starts = range(max(1, len(secret) - len(output)), len(secret))
    return next((len(secret) - start for start in starts if output.startswith(secret[start:])), 0)


class _CommandFailed(Exception):
    """The failure of an external action, with the exit and output of its last command."""

    def __init__(self, error: str, outcome: command.CommandResult) -> None:
        super().__init__(error)
        self.payload = {
            "status": "failed",
            "error": error,
            "command": list(outcome.argv),
            "exit_status": outcome.status,
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
        }


def _stdin(step: Step) -> bytes:
    action = step.action
    document = {"args": step.args, "headers": action.headers, "id": action.id, "kind": action.kind}
    return json.dumps(document).encode()


def _report(outcome: command.CommandResult) -> dict[str, Any]:
    """The report that `check` printed. Raises `_CommandFailed` if the output is not a valid report."""
    printed = outcome.stdout.encode()
    if len(printed) >= TAIL:
        why = f"has {TAIL} bytes or more, of which the last are kept"
        raise _CommandFailed(f"the report of {outcome.argv[0]} {why}: print a shorter one", outcome)
    if too_deep(printed):
        raise _CommandFailed(f"the report of {outcome.argv[0]} is nested deeper than {DEPTH} levels", outcome)
    try:
        report = strict_json.loads(outcome.stdout)
    except (ValueError, RecursionError) as error:
        raise _CommandFailed(f"the report of {outcome.argv[0]} cannot be read: {error}", outcome) from None
    if not isinstance(report, dict) or report.get("status") not in STATUSES:
        raise _CommandFailed(f"the report of {outcome.argv[0]} has no status of {', '.join(STATUSES)}", outcome)
    return report
