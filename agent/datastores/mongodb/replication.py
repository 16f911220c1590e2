"""Translate the state of one mongod to the roles of all datastores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, Role
from agent.datastores.mongodb.member import MemberState

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB


def role(here: MongoDB) -> Role:
    """Read the role. Raises `DatastoreError`."""
    hello = here.hello()
    source = None
    if "setName" in hello and hello.get("secondary"):
        with suppress(DatastoreError):
            source = here.command("replSetGetStatus").get("syncSourceHost")
    return _role(hello, bool(source))


def role_of(hello: Mapping[str, Any], state: MemberState | None) -> Role:
    """The role from facts that are already known."""
    return _role(hello, state is not None and state.source is not None)


def _role(hello: Mapping[str, Any], receives: bool) -> Role:
    writable = bool(hello.get("isWritablePrimary"))
    if "setName" not in hello:  # not in a set, or removed from it
        return Role("primary" if writable else "standalone", writable=writable)
    if writable:
        return Role("primary", writable=True)
    return Role("replica", hello.get("primary"), streaming=bool(hello.get("secondary")) and receives)
