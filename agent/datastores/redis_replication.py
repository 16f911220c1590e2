"""One Redis among others: its role, in the vocabulary of all datastores."""

from __future__ import annotations

from agent.datastores.base import Role
from agent.datastores.redis_state import State


def role(state: State) -> Role:
    """Redis without a source takes writes, so it is a primary: it has no `standalone`."""
    if state.is_replica:
        return Role("replica", state.source, state.in_step, writable=not state.read_only)
    return Role("primary", writable=True)
