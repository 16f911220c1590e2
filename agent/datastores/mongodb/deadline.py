"""Run a change of MongoDB with a timeout: acknowledged by a majority, ended at the server, or reported as unknown."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, OutcomeUnknown
from agent.datastores.mongodb.connection import Answer, MongoAnswerLost

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

SHARE = 0.5
"""Fraction of the timeout for the acknowledgement of a majority, so that the server answers in time."""


def change(here: MongoDB, done: Callable[[], bool], what: str, name: str, value: Any, /, **more: Any) -> Answer:
    """Run one command; `done` checks whether it took effect, `what` describes the effect.

    Returns the answer; empty if it was lost but the change took effect. Raises `OutcomeUnknown`.
    """
    mark = f"agent-{secrets.token_hex(8)}"
    limit = int(here.settings.timeout * SHARE * 1000)
    concern = {"w": "majority", "wtimeout": limit}
    try:
        answer = here.command(name, value, comment=mark, writeConcern=concern, **more)
    except MongoAnswerLost as error:
        return _after(here, done, what, mark, error)
    if (held := answer.get("writeConcernError")) is not None:
        raise OutcomeUnknown(
            f"{what} took effect on this server, and no majority of the replica set has acknowledged it: "
            "it is lost if another member becomes primary now",
            waits_for=str(held.get("errmsg") or held.get("codeName")),
        )
    return answer


def _after(here: MongoDB, done: Callable[[], bool], what: str, mark: str, error: MongoAnswerLost) -> Answer:
    """End the request at the server, then check whether it took effect."""
    waits_for = _end(here, mark)
    with suppress(DatastoreError):
        if done():
            return {}
    raise OutcomeUnknown(
        f"{error}; it is unknown whether {what}; the request may still take effect", waits_for
    ) from error


def _end(here: MongoDB, mark: str) -> str | None:
    """Kill the operation with this comment; returns what it waits for. None: not found, or not visible."""
    with suppress(DatastoreError):
        for operation in here.command("currentOp", **{"command.comment": mark}).get("inprog", ()):
            here.command("killOp", op=operation["opid"])
            waits = "a lock" if operation.get("waitingForLock") else operation.get("msg")
            return str(waits or operation.get("desc") or operation["opid"])
    return None
