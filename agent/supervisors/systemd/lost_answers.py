"""Decides after a lost answer to a request: succeeded, refused, or send it again."""

from collections.abc import Callable

from agent.supervisors.base import AnswerUnclear, CommandKilled, SupervisorFailed
from agent.util.pauses import Pauses
from agent.util.repeated_reads import PATIENCE
from agent.util.stop import Stop


def send_once(request: Callable[[], None], has_arrived: Callable[[], bool], stop: Stop) -> None:
    """Send a request once. After a lost answer it is sent again only if `has_arrived` is false.

    An unclear answer that arrives twice is a refusal. Raises `SupervisorFailed`.
    """
    pauses = Pauses()
    unclear: str | None = None
    while True:
        try:
            return request()
        except CommandKilled as lost:
            if has_arrived():
                return
            if isinstance(lost, AnswerUnclear):
                if unclear == str(lost):
                    raise SupervisorFailed(unclear) from None
                unclear = str(lost)
            if pauses.passed > PATIENCE or stop.wait(pauses.next()):
                raise
