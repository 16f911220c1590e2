"""The role of one mongod, in the vocabulary of all datastores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, Role
from agent.datastores.mongodb_member import State

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB


def role(here: MongoDB) -> Role:
    """Raises `DatastoreError`. The server itself says whether it receives."""
    hello = here.hello()
    source = None
    if "setName" in hello and hello.get("secondary"):
        with suppress(DatastoreError):
            source = here.command("replSetGetStatus").get("syncSourceHost")
    return _role(hello, bool(source))


def role_of(hello: Mapping[str, Any], state: State | None) -> Role:
    """The same, of facts that are known already."""
    return _role(hello, state is not None and state.source is not None)


def _role(hello: Mapping[str, Any], receives: bool) -> Role:
    writable = bool(hello.get("isWritablePrimary"))
    if "setName" not in hello:  # of no set, or removed from it
        return Role("primary" if writable else "standalone", writable=writable)
    if writable:
        return Role("primary", writable=True)
    return Role("replica", hello.get("primary"), streaming=bool(hello.get("secondary")) and receives)
