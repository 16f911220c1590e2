"""The ids of the request that the current thread serves, added to each of its events."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})
_current: ContextVar[Mapping[str, str]] = ContextVar("correlation", default=NOTHING)


def correlate(request_id: str | None, trace_id: str | None) -> None:
    """Set the fields of all further events of this thread; None removes a field."""
    found = {"request_id": request_id, "trace_id": trace_id}
    _current.set({name: value for name, value in found.items() if value is not None})


def current() -> Mapping[str, str]:
    """The fields of this thread's events."""
    return _current.get()
