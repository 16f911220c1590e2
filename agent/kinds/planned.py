"""A kind whose first step is its plan: nothing is stopped or changed before the plan has passed."""

from agent.kinds.base import Done, Kind, Outcome, Running, Step, failed
from agent.models import Json
from agent.plan import Plan, Would


class Planned(Kind):
    """Subclasses say `plan`, `act` and `act_again`. The plan is recorded in the payload of the first step."""

    def step(self, step: Step) -> Outcome:
        return self.begin(step) if step.payload is None else self.act(step)

    def resume(self, step: Step) -> Outcome:
        """The first step only looks, so an interruption of it has changed nothing."""
        return self.begin(step) if step.payload is None else self.act_again(step)

    def begin(self, step: Step) -> Outcome:
        """Refuse, finish or continue, as the plan says."""
        plan = self.plan(step.args)
        if plan.would is Would.REFUSE:
            return refused(plan)
        if plan.would is Would.NOTHING:
            return self.unchanged(plan)
        return Running({"phase": "planned", "plan": self._recorded(plan)})

    def act(self, step: Step) -> Outcome:
        """Carry the plan out. `step.payload` is never None."""
        raise NotImplementedError

    def act_again(self, step: Step) -> Outcome:
        """The first step after an interruption of `act`: look at the world, then continue, finish or fail honestly."""
        raise NotImplementedError

    def _recorded(self, plan: Plan) -> Json:
        """Of a kind with secrets the effect alone: a mask within a known sentence would reveal the secret."""
        return {"would": plan.would.value} if self.secret_fields else plan.as_json()

    def unchanged(self, plan: Plan) -> Outcome:
        """The end of an action whose plan found the world as wanted."""
        return Done({"plan": plan.as_json()}, plan.summary)


def refused(plan: Plan) -> Outcome:
    """The failure of an action that its own plan refuses: the reason, and what would lift it."""
    assert plan.refusal is not None
    message = f"{plan.refusal.reason}; {plan.refusal.lifted_by}"
    return failed(message, plan=plan.as_json())
