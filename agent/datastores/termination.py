"""The end of a resync's job on request: SIGTERM interrupts its work once, and then the old data is restored."""

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Terminated(BaseException):
    """The job of a resync got a signal to end: restore the old data, then raise `DatastoreError` with the state."""


def complete(restore: Callable[[], Result]) -> Result:
    """Run `restore`, and again from its beginning if the signal comes meanwhile; a job gets it once.

    `restore` continues from any state, as after a kill.
    """
    try:
        return restore()
    except Terminated:
        return restore()
