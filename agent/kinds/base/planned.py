"""A kind whose first step computes its plan: nothing is stopped or changed unless the plan permits it."""

from agent.kinds.base.kind import Done, Kind, Running, Step, StepResult, failed
from agent.models import Json
from agent.plan import Plan, Would


class Planned(Kind):
    """Subclasses define `plan`, `act` and `act_again`. The plan is recorded in the payload of the first step."""

    def step(self, step: Step) -> StepResult:
        return self.begin(step) if step.payload is None else self.act(step)

    def resume(self, step: Step) -> StepResult:
        """Continue after an interruption. The first step only reads, so it can be repeated."""
        return self.begin(step) if step.payload is None else self.act_again(step)

    def begin(self, step: Step) -> StepResult:
        """The first step: refuse, finish or continue according to the plan."""
        plan = self.plan(step.args)
        if plan.would is Would.REFUSE:
            return refused(plan)
        if plan.would is Would.NOTHING:
            return self.unchanged(plan)
        return Running({"phase": "planned", "plan": self._recorded(plan)})

    def act(self, step: Step) -> StepResult:
        """Execute the plan. `step.payload` is never None."""
        raise NotImplementedError

    def act_again(self, step: Step) -> StepResult:
        """The first step after an interruption of `act`: read the present state, then continue, finish or fail."""
        raise NotImplementedError

    def _recorded(self, plan: Plan) -> Json:
        """The payload of the plan. With secrets only the effect: a mask in a known sentence would reveal the secret."""
        return {"would": plan.would.value} if self.secret_fields else plan.as_json()

    def unchanged(self, plan: Plan) -> StepResult:
        """The end of an action whose plan found nothing to do."""
        return Done({"plan": plan.as_json()}, plan.summary)


def refused(plan: Plan) -> StepResult:
    """The failure of an action that its plan refuses: the reason and the cure."""
    assert plan.refusal is not None
    message = f"{plan.refusal.reason}; {plan.refusal.lifted_by}"
    return failed(message, plan=plan.as_json())
