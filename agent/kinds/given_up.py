"""The end of an action that was begun and that the configuration, changed meanwhile, does not let go on."""

from typing import Any

from agent.config import Settings
from agent.errors import AgentError
from agent.hosts.jobs import Jobs
from agent.kinds.base import Failed, Kind, Outcome, Step, failed
from agent.models import Json

END_GRACE = 10.0
"""Seconds that a command which still runs gets to end by itself."""
UNKNOWN = "was interrupted and may or may not have taken effect"


def give_up(kind: type[Kind], settings: Settings, step: Step, why: str, *, interrupted: bool = False) -> Failed:
    """End what still runs of it, and say what was done and what is left."""
    ended = Jobs(settings.agent.jobs).end_of(step.action.id, END_GRACE)
    begun = step.payload is not None
    said = [why, *([kind.left(step.payload)] if begun else [])]
    if interrupted:
        said.append(f"{'the step after that' if begun else 'its first step'} {UNKNOWN}")
    if ended:
        said.append("the command that still ran was ended")
    message = "; ".join(said)
    return failed(message, payload=step.payload)


class GivenUp(Kind):
    """Stands for the kind of an action that this node does not offer, or whose arguments it refuses, any more."""

    def __init__(self, settings: Settings, kind: type[Kind], reason: AgentError) -> None:
        self.settings, self._kind, self._reason = settings, kind, reason

    def load(self, args: Json) -> Any:
        return args

    def step(self, step: Step) -> Outcome:
        if step.payload is None:
            raise self._reason
        return give_up(self._kind, self.settings, step, self._reason.sentence)

    def resume(self, step: Step) -> Outcome:
        return give_up(self._kind, self.settings, step, self._reason.sentence, interrupted=True)

    def cancel(self, step: Step) -> None:
        if step.payload is not None:
            give_up(self._kind, self.settings, step, "")
