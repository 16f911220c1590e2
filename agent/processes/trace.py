"""The place of the running action in a distributed trace, for the commands that its steps run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = "TRACEPARENT"
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


@contextmanager
def traced(traceparent: str | None) -> Iterator[None]:
    """Until the end of the block, the commands of this thread get it in their environment."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def variables() -> dict[str, str]:
    """What a command gets; in a job, what the job got itself."""
    found = _current.get() or os.environ.get(VARIABLE)
    return {VARIABLE: found} if found else {}
