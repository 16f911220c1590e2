"""A kind with a secret among its arguments."""

from marshmallow import fields

from agent.kinds.base import Args, Done, Kind, Step, StepResult


class SecretiveArgs(Args):
    password = fields.String(required=True, metadata={"secret": True})


class Secretive(Kind):
    """Keep a secret."""

    name = "tests.secretive"
    args = SecretiveArgs

    def step(self, step: Step) -> StepResult:
        return Done()
