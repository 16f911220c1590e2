"""Passes the trace context of the running action to the commands of its steps."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = "TRACEPARENT"
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


@contextmanager
def traced(traceparent: str | None) -> Iterator[None]:
    """Set the trace context for the environment of this thread's commands until the end of the block."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def variables() -> dict[str, str]:
    """The variables for a command; in a job, those of the job itself."""
    found = _current.get() or os.environ.get(VARIABLE)
    return {VARIABLE: found} if found else {}
