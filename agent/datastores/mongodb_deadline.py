"""A change of MongoDB within our time: acknowledged by a majority, or ended at the server, or reported as unknown."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, OutcomeUnknown
from agent.datastores.mongodb_connection import Answer, AnswerLost

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB

SHARE = 0.5
"""Of our time, for the acknowledgement of a majority, so that the server answers before we give up."""


def change(here: MongoDB, done: Callable[[], bool], what: str, name: str, value: Any, /, **more: Any) -> Answer:
    """Let the server carry out one command; `done` says whether it took effect, `what` what was asked for.

    Returns the answer, which is empty where it was lost and the change is seen to be there. Raises `OutcomeUnknown`.
    """
    mark = f"agent-{secrets.token_hex(8)}"
    limit = int(here.settings.timeout * SHARE * 1000)
    concern = {"w": "majority", "wtimeout": limit}
    try:
        answer = here.command(name, value, comment=mark, writeConcern=concern, **more)
    except AnswerLost as error:
        return _after(here, done, what, mark, error)
    if (held := answer.get("writeConcernError")) is not None:
        raise OutcomeUnknown(
            f"{what} took effect on this server, and no majority of the replica set has acknowledged it: "
            "it is lost if another member becomes primary now",
            waits_for=str(held.get("errmsg") or held.get("codeName")),
        )
    return answer


def _after(here: MongoDB, done: Callable[[], bool], what: str, mark: str, error: AnswerLost) -> Answer:
    """End the request at the server, then look whether it took effect."""
    waits_for = _end(here, mark)
    with suppress(DatastoreError):
        if done():
            return {}
    raise OutcomeUnknown(f"{error}; it is not known whether {what}; it may still take effect", waits_for) from error


def _end(here: MongoDB, mark: str) -> str | None:
    """Kill the operation with this comment; returns what it waits for. None: it is not there, or cannot be seen."""
    with suppress(DatastoreError):
        for operation in here.command("currentOp", **{"command.comment": mark}).get("inprog", ()):
            here.command("killOp", op=operation["opid"])
            waits = "a lock" if operation.get("waitingForLock") else operation.get("msg")
            return str(waits or operation.get("desc") or operation["opid"])
    return None
