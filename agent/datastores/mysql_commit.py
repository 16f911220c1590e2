"""Whether a commit gets through: one is tried that leaves nothing behind."""

from __future__ import annotations

from agent.datastores import mysql_deadline, mysql_semisync
from agent.datastores.base import DatastoreError
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import OutOfTime, ServerRefused, connect

LONGEST = 5.0
"""Seconds after which a commit is held."""
PROBE = "DROP TABLE IF EXISTS mysql.agent_commit_probe"
"""Written to the binary log and waited for like any transaction; there is no such table."""
READ_ONLY = (1290, 1836)


def held_by(at: Address, timeout: float) -> str | None:
    """What keeps a commit from finishing, in a sentence; None: one got through."""
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
    """Look at the statement that waits, then end it."""
    try:
        with connect(at, timeout) as session:
            state = mysql_deadline.state_of(session, late.thread)
            semisync = mysql_semisync.look(session)
            mysql_deadline.end(session, late.thread, grace=0)
    except DatastoreError as error:
        return f"a commit did not finish within {within:g} s, and the server cannot say why: {error}"
    if not semisync.satisfied:
        return str(semisync)
    return f"a commit did not finish within {within:g} s; the server says: {state or 'nothing'}"
