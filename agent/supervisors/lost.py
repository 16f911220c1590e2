"""The one place that decides what a lost answer of a supervisor means: yes, no, or ask again."""

from collections.abc import Callable
from typing import TypeVar

from agent.pauses import Pauses
from agent.stop import Stop
from agent.supervisors.base import AnswerUnclear, CommandKilled, SupervisorFailed

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that a supervisor may be out of reach, as while systemd executes itself again or dbus is restarted."""


def repeated(read: Callable[[], T], stop: Stop) -> T:
    """What `read` returns. It changes nothing, so it is repeated until its answer arrives.

    Raises `SupervisorFailed`: the refusal at once, a lost answer after `PATIENCE`.
    """
    pauses = Pauses()
    while True:
        try:
            return read()
        except CommandKilled:
            if pauses.passed > PATIENCE or stop.wait(pauses.next()):
                raise


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
