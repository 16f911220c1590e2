"""The ids of the request that a thread works for, as fields of every event that it logs."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
_current: ContextVar[Mapping[str, str]] = ContextVar("correlation", default=NOTHING)


def correlate(request_id: str | None, trace_id: str | None) -> None:
    """From now on, what this thread logs has these fields; None removes them."""
    found = {"request_id": request_id, "trace_id": trace_id}
    _current.set({name: value for name, value in found.items() if value is not None})


def current() -> Mapping[str, str]:
    """The fields of this thread's events."""
    return _current.get()
