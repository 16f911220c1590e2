"""A kind with a password among its arguments, and a slow one."""

import time

from marshmallow import fields

from agent.kinds.base import Args, Done, Kind, Step, StepResult
from agent.kinds.base.arguments import Number


class SecretArgs(Args):
    password = fields.String(required=True, metadata={"secret": True})
    pause = Number(load_default=0.0)


class Secretive(Kind):
    """Use a password."""

    name = "secretive.use"
    args = SecretArgs

    def step(self, step: Step) -> StepResult:
        time.sleep(step.args["pause"])
        return Done({"letters": len(step.args["password"]), "said": f"not {step.args['password']}"})
