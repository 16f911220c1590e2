"""The one place that decides what a lost answer to a request means: yes, no, or ask again."""

from collections.abc import Callable

from agent.supervisors.base import AnswerUnclear, CommandKilled, SupervisorFailed
from agent.util.pauses import Pauses
from agent.util.repeated_reads import PATIENCE
from agent.util.stop import Stop


def asked(request: Callable[[], None], heard: Callable[[], bool], stop: Stop) -> None:
    """Make a request once. After a lost answer `heard` looks whether it arrived, and only else it is repeated.

    An unclear answer that arrives twice is a refusal. Raises `SupervisorFailed`.
    """
    pauses = Pauses()
    unclear: str | None = None
    while True:
        try:
            return request()
        except CommandKilled as lost:
            if heard():
                return
            if isinstance(lost, AnswerUnclear):
                if unclear == str(lost):
                    raise SupervisorFailed(unclear) from None
                unclear = str(lost)
            if pauses.passed > PATIENCE or stop.wait(pauses.next()):
                raise
