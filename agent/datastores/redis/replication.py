"""Translate the state of one Redis to the roles of all datastores."""

from __future__ import annotations

from agent.datastores.base import Role
from agent.datastores.redis.state import RedisState


def role(state: RedisState) -> Role:
    """The role. A Redis without a source accepts writes and so is a primary, never `standalone`."""
    if state.is_replica:
        return Role("replica", state.source, state.in_step, writable=not state.read_only)
    return Role("primary", writable=True)
