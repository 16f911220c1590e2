"""After a lost answer, decides whether the request succeeded, was refused, or must be sent again."""

from collections.abc import Callable

from agent.supervisors.base import AnswerUnclear, CommandKilled, SupervisorFailed
from agent.util.pauses import Pauses
from agent.util.repeated_reads import PATIENCE
from agent.util.stop import Stop


def send_once(request: Callable[[], None], has_arrived: Callable[[], bool], stop: Stop) -> None:
    """Send a request so that it takes effect once: after a lost answer again only if `has_arrived` is false.

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
