"""A kind made of other kinds, run one after the other as its stages."""

from dataclasses import replace
from typing import Any, ClassVar

from agent.config import Settings
from agent.kinds.base.kind import Done, Failed, Kind, Running, Step, StepResult
from agent.models import Json
from agent.plan import Plan, Would, in_order


class Staged(Kind):
    """The payload is `{"stage": n, "state": <state of the stage>, "payload": <payload of the stage>}`.

    The end of each stage is recorded as a transition. A failed stage fails the action. Every stage
    gets the arguments of the action.
    """

    stages: ClassVar[tuple[type[Kind], ...]]

    def __init__(self, settings: Settings) -> None:
        """Raises `NotOffered` if one of the stages is not offered."""
        super().__init__(settings)
        self._stages = [kind for stage in self.stages for kind in stage.offered(settings)]

    def plan(self, args: Any) -> Plan:
        """The plans of all stages. A stage that has nothing to do now may have work after the earlier stages."""
        summary = f"{self.name} would run {', '.join(stage.name for stage in self._stages)}"
        whole = in_order(summary, [stage.plan(args) for stage in self._stages])
        if whole.would in (Would.REFUSE, Would.NOTHING):
            return whole
        return replace(whole, steps=[stage.name for stage in self._stages])

    def step(self, step: Step) -> StepResult:
        number, own = _in_flight(step)
        return self._outcome(number, self._stages[number].step(own))

    def resume(self, step: Step) -> StepResult:
        number, own = _in_flight(step)
        return self._outcome(number, self._stages[number].resume(own))

    def cancel(self, step: Step) -> None:
        number, own = _in_flight(step)
        if number < len(self._stages):
            self._stages[number].cancel(own)

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        number, state = payload["stage"], payload["state"]
        done = number + (state == "DONE")
        names = [stage.name for stage in cls.stages]
        groups = {"done": names[:done], "begun": names[done : number + 1], "not begun": names[max(done, number + 1) :]}
        return ", ".join(f"{how}: {' and '.join(stages)}" for how, stages in groups.items() if stages)

    def _outcome(self, number: int, outcome: StepResult) -> StepResult:
        """The action's outcome for the outcome of one stage."""
        if isinstance(outcome, Running):
            return Running(_payload(number, "RUNNING", outcome.payload), outcome.after)
        if isinstance(outcome, Failed):
            return Failed(_payload(number, "FAILED", outcome.payload), self._why(number, outcome.message))
        payload = _payload(number, "DONE", outcome.payload)
        return Done(payload, outcome.message) if number == len(self._stages) - 1 else Running(payload)

    def _why(self, number: int, message: str) -> str:
        return f"stage {number + 1} of {len(self._stages)}, {self._stages[number].name}: {message}"


def _in_flight(step: Step) -> tuple[int, Step]:
    """The number of the current stage, and the step with the payload of that stage."""
    if step.payload is None:
        return 0, step
    number, state, payload = (step.payload[member] for member in ("stage", "state", "payload"))
    if state == "DONE":
        return number + 1, replace(step, payload=None)
    return number, replace(step, payload=payload)


def _payload(number: int, state: str, payload: Json) -> Json:
    return {"stage": number, "state": state, "payload": payload}
