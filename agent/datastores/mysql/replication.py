"""Read the sources of one MySQL or MariaDB, and stop following them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, Role
from agent.datastores.mysql.session import Row, Session
from agent.util.poll import poll
from agent.util.stop import Stop

START_REPLICA = "START REPLICA"
STOP_REPLICA = "STOP REPLICA"
START_RECEIVING = "START REPLICA IO_THREAD"
STOP_RECEIVING = "STOP REPLICA IO_THREAD"
FORGET_PRIMARY = "RESET REPLICA ALL"

SENDS = ("Binlog Dump", "Binlog Dump GTID")
"""Commands of the connections of replicas."""


def role(session: Session) -> Role:
    followed, writable = session.replica_status(), is_writable(session)
    if followed:
        return Role("replica", primary_of(followed[0]), all(map(streams, followed)), writable)
    led = any(row["Command"] in SENDS for row in session.run("SHOW PROCESSLIST"))
    return Role("primary" if led or writable else "standalone", writable=writable)


def is_writable(session: Session) -> bool:
    return not session.value("SELECT @@GLOBAL.read_only")


def primary_of(row: Row) -> str:
    return f"{row['Source_Host']}:{row['Source_Port']}"


def check_writes_here(session: Session) -> None:
    """Raises `DatastoreRefused` on a replica: a write there would break its replication."""
    if followed := session.replica_status():
        raise DatastoreRefused(f"{session.where} is a replica: use its primary, {primary_of(followed[0])}")
    if not is_writable(session):
        raise DatastoreRefused(f"{session.where} is read-only")


def promote(session: Session, timeout: float, stop: Stop, *, give_up: bool = False) -> dict[str, Any]:
    """Apply everything received, stop following, accept writes. `give_up`: discard transactions never applied."""
    followed = session.replica_status()
    for row in followed:
        if not (give_up and never_applies(session, row)):
            _apply_received(session, row, timeout, stop)
    follow_no_source(session, followed)
    session.run(session.dialect.make_writable)
    return {"followed": [primary_of(row) for row in followed], **session.dialect.kept}


def disable(session: Session) -> dict[str, Any]:
    """Stop following and stay read-only."""
    followed = session.replica_status()
    session.run(session.dialect.make_read_only)
    follow_no_source(session, followed)
    return {"followed": [primary_of(row) for row in followed], **session.dialect.kept}


def _apply_received(session: Session, row: Row, timeout: float, stop: Stop) -> None:
    """Stop receiving and wait until everything received is applied; on failure replication continues as before.

    Never starts a thread while both are stopped: MariaDB then discards its relay log.
    """
    select(session, row)
    _has_applied(session, row)
    session.run(STOP_RECEIVING)
    try:
        otherwise = f"{session.where} has not applied everything that it received"
        await_fact(lambda: _has_applied(session, row), timeout, stop, otherwise)
    except DatastoreError:
        if applies(status_of(session, row)):
            session.run(START_RECEIVING)
        raise


def never_applies(session: Session, followed: Row) -> str | None:
    """The reason why transactions received from this source are not applied, or None."""
    now = status_of(session, followed)
    if applies(now) or _is_applied(session, now):
        return None
    why = now["Last_SQL_Error"] or "its applier is stopped"
    return f"{session.where} cannot apply the transactions that it received: {why}"


def _has_applied(session: Session, followed: Row) -> bool:
    """Wait until everything is applied. Raises `DatastoreRefused` if the applier does not continue by itself."""
    now = status_of(session, followed)
    applied = _is_applied(session, now)
    if not applied and (why := never_applies(session, followed)) is not None:
        raise DatastoreRefused(why)
    return applied


def _is_applied(session: Session, now: Row) -> bool:
    """Whether everything received at the time of the row is applied."""
    if received := now.get(session.dialect.received):
        return bool(session.value(session.dialect.gtids_applied, received))
    if now.get("Auto_Position"):
        return True  # no GTID received yet: MySQL with auto-position counts received transactions by GTID
    read, executed = ("Source_Log_File", "Read_Source_Log_Pos"), ("Relay_Source_Log_File", "Exec_Source_Log_Pos")
    return [now[column] for column in read] == [now[column] for column in executed]


def follow_no_source(session: Session, followed: list[Row]) -> None:
    for row in followed if session.dialect.select_replica else followed[:1]:
        select(session, row)
        session.run(STOP_REPLICA)
        session.run(FORGET_PRIMARY)


def await_fact(fact: Callable[[], bool], timeout: float, stop: Stop, otherwise: str) -> None:
    """Wait for the fact. Raises `DatastoreUnreachable` after the timeout, `DatastoreRefused` on `stop`."""
    if poll(fact, timeout, stop):
        return
    if stop.requested:
        raise DatastoreRefused(f"{otherwise}: {stop.reason}")
    raise DatastoreUnreachable(f"{otherwise} after {timeout:g} s")


def streams(row: Row) -> bool:
    return row["Replica_IO_Running"] == "Yes" and applies(row)


def applies(row: Row) -> bool:
    return bool(row["Replica_SQL_Running"] == "Yes")


def status_of(session: Session, followed: Row) -> Row:
    name = _name(followed)
    return next(row for row in session.replica_status() if _name(row) == name)


def select(session: Session, row: Row) -> None:
    """Select this source for the next statements."""
    if session.dialect.select_replica is not None:
        session.run(session.dialect.select_replica, row["Connection_name"])


def _name(row: Row) -> object:
    return row.get("Connection_name", row.get("Channel_Name"))
