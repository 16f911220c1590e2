"""Test whether commits complete, with a statement that changes nothing."""

from __future__ import annotations

from agent.datastores.base import DatastoreError
from agent.datastores.mysql import deadline, semisync as mysql_semisync
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import OutOfTime, ServerRefused, connect

LONGEST = 5.0
"""Seconds after which a commit counts as held."""
PROBE = "DROP TABLE IF EXISTS mysql.agent_commit_probe"
"""Goes through the binary log and its acknowledgement like any transaction; the table does not exist."""
READ_ONLY = (1290, 1836)


def held_by(at: Address, timeout: float) -> str | None:
    """The reason why a commit does not complete, as a sentence; None: it completed."""
    within = min(timeout, LONGEST)
    try:
        with connect(at, within) as session:
            session.run(PROBE)
    except OutOfTime as late:
        return _held(at, timeout, late, within)
    except ServerRefused as error:
        return f"read_only: {error}" if error.number in READ_ONLY else str(error)
    except DatastoreError as error:
        return str(error)
    return None


def _held(at: Address, timeout: float, late: OutOfTime, within: float) -> str:
    """Read the state of the waiting statement, then end it."""
    try:
        with connect(at, timeout) as session:
            state = deadline.state_of(session, late.thread)
            semisync = mysql_semisync.look(session)
            deadline.end(session, late.thread, grace=0)
    except DatastoreError as error:
        return f"a commit did not finish within {within:g} s, and the reason could not be read: {error}"
    if not semisync.satisfied:
        return str(semisync)
    return f"a commit did not finish within {within:g} s; its state on the server: {state or 'none'}"
