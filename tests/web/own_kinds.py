"""Kinds for the page: progress in stages, output, each danger, an argument of each type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marshmallow import fields, validate

from agent.kinds.base import Args, Done, Kind, Running, Step, StepResult
from agent.kinds.base.arguments import Flag, Names, Whole
from agent.plan import Danger, Discard, Plan, Would
from agent.processes import recording

STAGES = ("stop", "copy", "start")
TOTAL = 10


class CopyArgs(Args):
    gate = fields.String(required=True, metadata={"description": "A folder: stage N ends when the file N is there."})
    line = fields.String(load_default="copied", metadata={"description": "What is printed in each stage."})


class Copy(Kind):
    """Copy in three stages, each of which ends when a file appears."""

    name = "tests.copy"
    args = CopyArgs

    def plan(self, args: Any) -> Plan:
        return Plan(Would.CHANGE, f"copies in {len(STAGES)} stages", steps=STAGES)

    def step(self, step: Step) -> StepResult:
        number = step.payload["number"] if step.payload else 0
        if number == 0 or (Path(step.args["gate"]) / str(number)).exists():
            number += 1
            if (output := recording.current()) is not None:
                output.say(f"{number}: {step.args['line']}")
        if number > len(STAGES):
            return Done({"copied": TOTAL}, "copied all of it")
        return Running(_state(number), after=0.05)


def _state(number: int) -> dict[str, Any]:
    done = 1024 * 1024 * TOTAL * number // (len(STAGES) + 1)
    measured = {
        "bytes_done": done, "bytes_total": 1024 * 1024 * TOTAL, "percent": 25.0 * number, "rate": 2_400_000,
        "seconds_left": 3 * (4 - number),
    }  # fmt: skip
    return {"number": number, "phase": STAGES[number - 1], "phases": list(STAGES[:number]), "progress": measured}


class Flush(Kind):
    """Interrupt the service for a moment."""

    name = "tests.flush"
    danger = Danger.DISRUPTS

    def plan(self, args: Any) -> Plan:
        return Plan(Would.DISRUPT, "closes 12 connections", steps=["close connections"], warnings=["clients reconnect"])

    def step(self, step: Step) -> StepResult:
        return Done(message="flushed")


class DropArgs(Args):
    name = fields.String(required=True, metadata={"description": "The table to remove."})


class Drop(Kind):
    """Remove a table and everything in it."""

    name = "tests.drop"
    args = DropArgs
    danger = Danger.DESTROYS

    def resource(self, args: Any) -> tuple[str, str]:
        return "Table", args["name"]

    def plan(self, args: Any) -> Plan:
        return Plan(Would.DESTROY, f"removes {args['name']}", discards=[Discard("rows", 42, "rows")])

    def step(self, step: Step) -> StepResult:
        return Done(message=f"removed {step.args['name']}")


class FormArgs(Args):
    title = fields.String(required=True, validate=validate.Length(1, 20), metadata={"description": "A title."})
    count = Whole(load_default=3, validate=validate.Range(1, 9), metadata={"description": "How often."})
    full = Flag(load_default=False, metadata={"description": "Whether all of it."})
    mode = fields.String(validate=validate.OneOf(["fast", "slow"]), metadata={"description": "How."})
    tables = Names(metadata={"description": "Tables."})
    options = fields.Dict(metadata={"description": "More."})
    password = fields.String(metadata={"description": "A password.", "secret": True})


class Form(Kind):
    """Take an argument of each type."""

    name = "tests.form"
    args = FormArgs

    def plan(self, args: Any) -> Plan:
        return Plan(Would.CHANGE, f"does it {args['count']} times")

    def step(self, step: Step) -> StepResult:
        return Done({"args": {name: value for name, value in step.args.items() if name != "password"}}, "did it")
