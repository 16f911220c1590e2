"""Stands for the kind `deploy` where the agent has none of its own."""

from importlib.util import find_spec

from marshmallow import fields

from agent.kinds.base import Args, Done, Kind, Outcome, Step

if find_spec("agent.kinds.deploy") is None:

    class DeployArgs(Args):
        application = fields.String(required=True)
        git_ref = fields.String()
        deployment_strategy = fields.String()

    class Deploy(Kind):
        """Deploy nothing."""

        name = "deploy"
        args = DeployArgs

        def step(self, step: Step) -> Outcome:
            return Done({"git_hash": step.args["git_ref"]}, "deployed nothing")
