"""`external.<name>`: actions of the configuration, each a command that starts it and one that tells how it stands."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from marshmallow import Schema, fields

from agent import strict_json
from agent.config import ExternalAction, ExternalArgument, Settings
from agent.hosts import command
from agent.hosts.command import CommandNotStarted
from agent.kinds.arguments import Flag, Number, Whole
from agent.kinds.base import Args, Done, Failed, Kind, Outcome, Running, Step
from agent.kinds.masking import mask_names_too, spellings
from agent.models import Json
from agent.nesting import DEPTH, too_deep
from agent.plan import Danger, Plan, unknown

TAIL = 16384
"""Bytes of each output that are kept; a report is read from them, and so must be shorter."""
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
    """An action of the configuration. What its commands leave running goes on when it is cancelled or times out.

    `action` is run once, then `check` until it says something else than "running". The payload is
    `{"status": "started"}`, then the report of `check`, and on failure the command's end and output.
    """

    name = "external"
    danger = Danger.DISRUPTS
    configuration = "``[external_actions.NAME]``."
    privileges = "What its commands need."
    interruption = (
        "``check`` is run again. In the middle of ``action`` it fails and says that it may have taken effect."
    )

    def __init__(self, settings: Settings, name: str, declared: ExternalAction) -> None:
        super().__init__(settings, schema_of(declared.args or {}))
        self.name = f"external.{name}"
        self._declared = declared
        self._declares_args = declared.args is not None

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        for name, declared in settings.external_actions.items():
            yield cls(settings, name, declared)

    @property
    def description(self) -> str:
        return self._declared.description or f"Run {self._declared.action[0]}, an action of this node's own."

    def args_schema(self) -> dict[str, Any]:
        """Any JSON at all where the configuration declares no `args`: the commands know what they want."""
        return super().args_schema() if self._declares_args else {}

    def load(self, args: Json) -> Any:
        return super().load(args) if self._declares_args else args

    def plan(self, args: Any) -> Plan:
        argv = self._declared.action
        steps = [f"run {argv[0]}", f"run {self._declared.check[0]} until it reports the end"]
        return unknown(f"{self.name} would run {argv[0]}; the agent cannot tell what that changes", steps=steps)

    def step(self, step: Step) -> Outcome:
        try:
            return self._check(step) if step.payload else self._act(step)
        except _CommandFailed as failed:
            return Failed(failed.payload, str(failed))

    def resume(self, step: Step) -> Outcome:
        """Checking again is harmless; whether `action` took effect is known only once that was recorded."""
        return self.step(step) if step.payload else super().resume(step)

    def _act(self, step: Step) -> Outcome:
        self._run(self._declared.action, step)
        return Running({"status": "started"})

    def _check(self, step: Step) -> Outcome:
        outcome = self._run(self._declared.check, step)
        report = _report(outcome)
        shown = mask_names_too(report, self._secrets(step))
        if report["status"] == "running":
            return Running(shown, after=self._declared.interval)
        if report["status"] == "finished":
            return Done(shown, f"{self.name} has finished")
        raise _CommandFailed(str(report.get("error") or f"{self.name} has failed"), outcome)

    def _run(self, argv: Sequence[str], step: Step) -> command.Outcome:
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
            )
        except CommandNotStarted as error:
            raise _CommandFailed(str(error), command.Outcome(tuple(argv), None, "", "", None)) from error
        outcome = without_remnants(outcome, self._secrets(step))
        if not outcome.ok:
            raise _CommandFailed(outcome.describe(), outcome)
        return outcome

    def _secrets(self, step: Step) -> list[str]:
        return [step.args[name] for name in self.secret_fields if step.args.get(name)] if self.secret_fields else []


def schema_of(declared: Mapping[str, ExternalArgument]) -> Schema:
    """The schema of the arguments that a configuration declares."""
    return Args.from_dict({name: _field(each) for name, each in declared.items()})()


def _field(declared: ExternalArgument) -> "fields.Field[Any]":
    metadata = {name: getattr(declared, name) for name in ("description", "secret") if getattr(declared, name)}
    return FIELDS[declared.type](required=declared.required, metadata=metadata)


def without_remnants(outcome: command.Outcome, secrets: Sequence[str]) -> command.Outcome:
    """The outcome without the rest of a secret at the beginning of an output that was cut there.

    A whole secret is masked by whoever records the outcome; a part of one would not be recognised.
    """
    return replace(outcome, stdout=_begin_whole(outcome.stdout, secrets), stderr=_begin_whole(outcome.stderr, secrets))


def _begin_whole(output: str, secrets: Sequence[str]) -> str:
    if len(output.encode()) < TAIL:
        return output
    output = output.lstrip("\ufffd")
    return output[max((_overlap(secret, output) for secret in spellings(secrets)), default=0) :]


def _overlap(secret: str, output: str) -> int:
    """How many characters of the end of a secret, but not all of it, the output begins with.

    A secret may be as long as a body, so no end is tried that is longer than the output.
    """
    starts = range(max(1, len(secret) - len(output)), len(secret))
    return next((len(secret) - start for start in starts if output.startswith(secret[start:])), 0)


class _CommandFailed(Exception):
    """The end of an external action, with what there is to see of its last command."""

    def __init__(self, error: str, outcome: command.Outcome) -> None:
        super().__init__(error)
        self.payload = {
            "error": error,
            "command": list(outcome.argv),
            "status": outcome.status,
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
        }


def _stdin(step: Step) -> bytes:
    action = step.action
    told = {"args": step.args, "headers": action.headers, "id": action.id, "kind": action.kind}
    return json.dumps(told).encode()


def _report(outcome: command.Outcome) -> dict[str, Any]:
    """What `check` printed. Raises `_CommandFailed` for anything but a report of the protocol."""
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
