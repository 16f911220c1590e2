"""Handle a statement that timed out: end it at the server, then read whether it took effect."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import OutOfTime, Row, Session, connect
from agent.models import Json
from agent.util.poll import poll

GRACE = 5.0
"""Seconds that a killed thread gets to end."""


def settle(at: Address, timeout: float, late: OutOfTime, what: str, is_done: Callable[[Session], bool | None]) -> Json:
    """End the statement at the server and check whether it took effect; `what` describes the effect.

    `is_done` returns None if the server cannot answer: some of several statements may have taken effect.

    Returns the result of a late success. Raises `DatastoreRefused` if the statement ended without effect, and
    `OutcomeUnknown` if it cannot be ended or checked.
    """
    try:
        with connect(at, timeout) as session:
            state = state_of(session, late.thread)
            ended = end(session, late.thread)
            done = is_done(session)
    except DatastoreError as error:
        raise OutcomeUnknown(f"{late}; it is unknown whether {what}: {error}") from None
    waits = f"its state was: {state}" if state else "it had ended before the agent could read its state"
    if done:
        return {"late": f"{what}, but no answer came within {timeout:g} s; {waits}"}
    if ended and done is None:
        raise OutcomeUnknown(f"it is unknown whether {what}; the statement was ended: run the action again", state)
    if ended:
        raise DatastoreRefused(f"not done within {timeout:g} s: {what}; {waits}; the statement has ended")
    raise OutcomeUnknown(f"it is unknown whether {what}; it may still take effect: {waits}", state)


def end(session: Session, thread: int | None, grace: float = GRACE) -> bool:
    """Kill this thread. Returns whether it ended within `grace` seconds; a thread that waits for replicas may not."""
    with suppress(DatastoreRefused):  # it has ended by itself
        session.run("KILL %s", thread)
    return poll(lambda: _row(session, thread) is None, grace)


def state_of(session: Session, thread: int | None) -> str | None:
    """The state of the thread according to the server; None: it has ended, or the server gives no state."""
    row = _row(session, thread)
    return None if row is None else (row["State"] or None)


def _row(session: Session, thread: int | None) -> Row | None:
    return next((row for row in session.run("SHOW PROCESSLIST") if row["Id"] == thread), None)
