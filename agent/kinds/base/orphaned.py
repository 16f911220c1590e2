"""Ends a started action that cannot continue because the configuration was changed."""

from typing import Any

from agent.config import Settings
from agent.errors import AgentError
from agent.jobs.jobs import Jobs
from agent.kinds.base.kind import Failed, Kind, Step, StepResult, failed
from agent.models import Json

END_GRACE = 10.0
"""Seconds that a running command gets to end by itself."""
UNKNOWN = "was interrupted and may or may not have taken effect"


def give_up(kind: type[Kind], settings: Settings, step: Step, why: str, *, interrupted: bool = False) -> Failed:
    """End the action's running command. The failure describes the completed and the missing work."""
    ended = Jobs(settings.agent.jobs).end_of(step.action.id, END_GRACE)
    begun = step.payload is not None
    parts = [why, *([kind.describe_leftovers(step.payload)] if begun else [])]
    if interrupted:
        parts.append(f"{'the step after that' if begun else 'its first step'} {UNKNOWN}")
    if ended:
        parts.append("the command that still ran was ended")
    message = "; ".join(parts)
    return failed(message, payload=step.payload)


class OrphanedKind(Kind):
    """Replaces the kind of an action that the node no longer offers, or whose arguments it no longer accepts."""

    def __init__(self, settings: Settings, kind: type[Kind], reason: AgentError) -> None:
        self.settings, self._kind, self._reason = settings, kind, reason

    def load(self, args: Json) -> Any:
        return args

    def step(self, step: Step) -> StepResult:
        if step.payload is None:
            raise self._reason
        return give_up(self._kind, self.settings, step, self._reason.sentence)

    def resume(self, step: Step) -> StepResult:
        return give_up(self._kind, self.settings, step, self._reason.sentence, interrupted=True)

    def cancel(self, step: Step) -> None:
        if step.payload is not None:
            give_up(self._kind, self.settings, step, "")
