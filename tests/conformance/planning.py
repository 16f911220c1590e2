"""A kind whose plan repeats a secret, or fails."""

from typing import Any

from marshmallow import fields

from agent.kinds.base import Args, Done, Kind, Step, StepResult
from agent.plan import Plan, Would


class PlanningArgs(Args):
    password = fields.String(required=True, metadata={"secret": True})
    raises = fields.Boolean(load_default=False)


class Planning(Kind):
    """Say what it would do."""

    name = "tests.planning"
    args = PlanningArgs

    def plan(self, args: Any) -> Plan:
        if args["raises"]:
            raise RuntimeError("the plan failed")
        return Plan(Would.CHANGE, f"would use {args['password']}")

    def step(self, step: Step) -> StepResult:
        return Done()
