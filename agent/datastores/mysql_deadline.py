"""A statement that ran out of our time: ended at the server, then the server is looked at again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import OutOfTime, Row, Session, connect
from agent.models import Json

GRACE = 5.0
"""Seconds that a thread gets to end once it is killed."""
LOOK_EVERY = 0.05


def settle(at: Address, timeout: float, late: OutOfTime, what: str, is_done: Callable[[Session], bool | None]) -> Json:
    """End the statement at the server and look whether it took effect all the same; `what` says the effect.

    `is_done` returns None where the server cannot say: a part of several statements may have taken effect.

    Returns the result of a late success. Raises `DatastoreRefused` where the statement ended without its effect, and
    `OutcomeUnknown` where it cannot be ended or looked at.
    """
    try:
        with connect(at, timeout) as session:
            waited_for = state_of(session, late.thread)
            ended = end(session, late.thread)
            done = is_done(session)
    except DatastoreError as error:
        raise OutcomeUnknown(f"{late}; not known whether {what}: {error}") from None
    waits = f"it waited for: {waited_for}" if waited_for else "it was over when the agent looked"
    if done:
        return {"late": f"{what}, but no answer came within {timeout:g} s; {waits}"}
    if ended and done is None:
        raise OutcomeUnknown(f"not known how far {what}; the statement was ended: run the action again", waited_for)
    if ended:
        raise DatastoreRefused(f"not done within {timeout:g} s: {what}; {waits}; the statement has ended")
    raise OutcomeUnknown(f"not known whether {what}; it may still take effect: {waits}", waited_for)


def end(session: Session, thread: int | None, grace: float = GRACE) -> bool:
    """Kill this thread; whether it is gone within `grace` seconds. One that waits for replicas may stay."""
    deadline = time.monotonic() + grace
    with suppress(DatastoreRefused):  # it ended by itself
        session.run("KILL %s", thread)
    while _row(session, thread) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY)
    return True


def state_of(session: Session, thread: int | None) -> str | None:
    """What the thread is doing, in the server's words; None: it is gone, or the server does not say."""
    row = _row(session, thread)
    return None if row is None else (row["State"] or None)


def _row(session: Session, thread: int | None) -> Row | None:
    return next((row for row in session.run("SHOW PROCESSLIST") if row["Id"] == thread), None)
