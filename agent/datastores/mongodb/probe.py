"""Prove that a primary accepts writes: a no-op oplog entry with the set's default write concern."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

PATIENCE = 5.0
"""Timeout in seconds of the acknowledgement."""


def write_concern(here: MongoDB) -> Any:
    """The default write concern: a number, "majority" or the name of a mode."""
    with suppress(DatastoreError):
        found = here.command("getDefaultRWConcern").get("defaultWriteConcern", {}).get("w")
        if found is not None:
            return found
    return "majority"


def held_by(here: MongoDB) -> str | None:
    """The reason why a test write is not acknowledged; None: it was. It adds an oplog entry but no data."""
    wanted = write_concern(here)
    limit = int(min(PATIENCE, here.settings.timeout / 2) * 1000)
    try:
        answer = here.command(
            "appendOplogNote", data={"msg": "agent: probe"}, writeConcern={"w": wanted, "wtimeout": limit}
        )
    except DatastoreError as error:
        return f"not known: the probe was refused ({error})"
    if (held := answer.get("writeConcernError")) is None:
        return None
    return f"the write concern w: {wanted} is not met within {limit} ms: {held.get('errmsg') or held.get('codeName')}"
