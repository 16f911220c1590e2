"""`replicante.test.*`: kinds without effect on the node, for tests of the agent."""

from collections.abc import Iterator

from marshmallow import validate

from agent import clock
from agent.config import Settings
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult
from agent.kinds.base.arguments import Number, Whole


class PingArgs(Args):
    count = Whole(
        load_default=1,
        validate=validate.Range(1, 100),
        metadata={"description": "The number of pongs."},
    )


class LoopArgs(Args):
    target = Whole(
        load_default=10,
        validate=validate.Range(1, 100_000),
        metadata={"description": "The last number."},
    )
    delay = Number(
        load_default=1.0,
        validate=validate.Range(0, 3600),
        metadata={"description": "Seconds between two numbers."},
    )


class HarmlessKind(Kind):
    """Base of kinds that change nothing outside the agent: an interrupted step is repeated."""

    interruption = "It continues."
    configuration = "``agent.test_kinds``; default: offered only where authentication is off."

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        if not settings.test_kinds:
            raise NotOffered("set agent.test_kinds = true, on a node that is not in production")
        yield cls(settings)

    def resume(self, step: Step) -> StepResult:
        return self.step(step)


class Ping(HarmlessKind):
    """Answer with one pong per step, `count` times."""

    name = "replicante.test.ping"
    args = PingArgs

    def step(self, step: Step) -> StepResult:
        pongs = [*(step.payload or []), f"Pong at {clock.rfc3339(clock.now())}"]
        if len(pongs) < step.args["count"]:
            return Running(pongs)
        return Done(pongs, f"{len(pongs)} of {step.args['count']} pongs")


class Success(HarmlessKind):
    """Succeed at once."""

    name = "replicante.test.success"

    def step(self, step: Step) -> StepResult:
        return Done(message="succeeded, as it always does")


class Fail(HarmlessKind):
    """Fail at once."""

    name = "replicante.test.fail"

    def step(self, step: Step) -> StepResult:
        return Failed(message="failed, as it always does")


class Loop(HarmlessKind):
    """Count to a target, with a delay between two numbers."""

    name = "replicante.test.loop"
    args = LoopArgs
    timeout = 100_000.0

    def step(self, step: Step) -> StepResult:
        count = (step.payload or {"count": 0})["count"] + 1
        payload = {"count": count, "target": step.args["target"]}
        if count < step.args["target"]:
            return Running(payload, after=step.args["delay"])
        return Done(payload, f"counted to {count}")
