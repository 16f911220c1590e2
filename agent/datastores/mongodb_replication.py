"""One member of a replica set among the others: what it is, how it takes over, how it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, Role
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB

LOOK_EVERY = 0.1


def role(here: MongoDB) -> Role:
    hello = here.hello()
    if "setName" not in hello:  # of no set, or removed from it
        writable = hello["isWritablePrimary"]
        return Role("primary" if writable else "standalone", writable=writable)
    if hello["isWritablePrimary"]:
        return Role("primary", writable=True)
    return Role("replica", hello.get("primary"), streaming=bool(hello["secondary"]) and _has_source(here))


def promote(here: MongoDB, stop: Stop) -> dict[str, Any]:
    """Let this member call an election now. It fails where a majority of the set does not vote for it."""
    here.command("replSetStepUp")
    _await(here, lambda: role(here).writable, "was elected and takes no writes yet", stop)
    return {"set": here.hello()["setName"]}


def leave(here: MongoDB, stop: Stop) -> dict[str, Any]:
    """Let the primary remove this member from the set."""
    hello = here.hello()
    if (address := hello.get("primary")) is None:
        raise DatastoreRefused(f"the set {hello['setName']} has no primary now that could remove this member")
    primary = here.at(address)
    config = primary.command("replSetGetConfig")["config"]
    members = [member for member in config["members"] if member["host"] != hello["me"]]
    if len(members) < len(config["members"]):
        primary.command("replSetReconfig", config | {"members": members, "version": config["version"] + 1})
    _await(here, lambda: role(here).name == "standalone", "was removed from its set and does not know yet", stop)
    return {"set": hello["setName"], "removed": hello["me"]}


def _has_source(here: MongoDB) -> bool:
    with suppress(DatastoreError):
        return bool(here.command("replSetGetStatus").get("syncSourceHost"))
    return False


def _await(here: MongoDB, fact: Callable[[], bool], otherwise: str, stop: Stop) -> None:
    deadline = time.monotonic() + here.settings.timeout
    while not fact():
        if stop.requested or time.monotonic() > deadline:
            raise DatastoreUnreachable(f"MongoDB at {here.address} {otherwise}")
        stop.wait(LOOK_EVERY)
