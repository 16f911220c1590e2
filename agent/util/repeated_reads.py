"""Reads of a supervisor or engine that may be out of reach for a moment."""

from collections.abc import Callable
from typing import TypeVar

from agent.util.pauses import Pauses
from agent.util.stop import Stop

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that it may be out of reach, as while systemd executes itself again, or dbus or dockerd is restarted."""


def repeated(read: Callable[[], T], lost: type[Exception] | tuple[type[Exception], ...], stop: Stop) -> T:
    """What `read` returns. It changes nothing, so it is repeated until its answer arrives.

    Raises what `read` raises: a refusal at once, `lost` after `PATIENCE`.
    """
    pauses = Pauses()
    while True:
        try:
            return read()
        except lost:
            if pauses.passed > PATIENCE or stop.wait(pauses.next()):
                raise
