"""Retries reads from a supervisor or container engine that may be unreachable for a moment."""

from collections.abc import Callable
from typing import TypeVar

from agent.util.pauses import Pauses
from agent.util.stop import Stop

T = TypeVar("T")

PATIENCE = 15.0
"""Maximum seconds without a connection, such as during `systemctl daemon-reexec` or a restart of dbus or dockerd."""


def repeated(read: Callable[[], T], lost: type[Exception] | tuple[type[Exception], ...], stop: Stop) -> T:
    """The result of `read`, retried after the errors `lost` for up to `PATIENCE` seconds; `read` must change nothing.

    Raises `lost` after that time or at a stop, and other errors of `read` at once.
    """
    pauses = Pauses()
    while True:
        try:
            return read()
        except lost:
            if pauses.passed > PATIENCE or stop.wait(pauses.next()):
                raise
