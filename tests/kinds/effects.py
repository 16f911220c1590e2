"""Kinds whose plan has the effect given in an argument, which may be worse than their danger."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from agent.kinds.base import Args, Done, Kind, Step, StepResult
from agent.plan import Danger, Plan, Would


class EffectArgs(Args):
    would = fields.String(load_default="change", validate=validate.OneOf([each.value for each in Would]))


class Effect(Kind):
    """Disrupt, or have the effect of the argument."""

    name = "tests.effect"
    args = EffectArgs
    danger = Danger.DISRUPTS

    def plan(self, args: Any) -> Plan:
        return Plan(Would(args["would"]), f"would {args['would']}", steps=["do it"])

    def step(self, step: Step) -> StepResult:
        return Done(message="did it")


class HarmlessEffect(Effect):
    """Change something, or have the effect of the argument."""

    name = "tests.effect.harmless"
    danger = Danger.NONE
