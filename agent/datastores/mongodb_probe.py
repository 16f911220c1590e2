"""The proof that a primary takes writes: a note in the oplog, acknowledged as the set's own writes are."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB

PATIENCE = 5.0
"""Seconds for the acknowledgement, at most."""


def write_concern(here: MongoDB) -> Any:
    """What a write without a write concern of its own waits for: a number, "majority" or the name of a mode."""
    with suppress(DatastoreError):
        found = here.command("getDefaultRWConcern").get("defaultWriteConcern", {}).get("w")
        if found is not None:
            return found
    return "majority"


def held_by(here: MongoDB) -> str | None:
    """What keeps a write from being acknowledged; None: one was. It leaves a note in the oplog and no data."""
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
