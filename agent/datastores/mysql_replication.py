"""Whom one MySQL or MariaDB follows, and how it ends that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, Role
from agent.datastores.mysql_session import Row, Session
from agent.stop import Stop

LOOK_EVERY = 0.05

START_REPLICA = "START REPLICA"
STOP_REPLICA = "STOP REPLICA"
START_RECEIVING = "START REPLICA IO_THREAD"
STOP_RECEIVING = "STOP REPLICA IO_THREAD"
FORGET_PRIMARY = "RESET REPLICA ALL"

SENDS = ("Binlog Dump", "Binlog Dump GTID")
"""What a connection does that a replica follows by."""


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
    """Raise on a replica: what is written there alone is the end of its replication."""
    if followed := session.replica_status():
        raise DatastoreRefused(f"{session.where} is a replica: ask its primary, {primary_of(followed[0])}")
    if not is_writable(session):
        raise DatastoreRefused(f"{session.where} is read-only")


def promote(session: Session, timeout: float, stop: Stop, *, give_up: bool = False) -> dict[str, Any]:
    """Apply what was received, then follow no source and take writes. `give_up`: what is never applied is lost."""
    followed = session.replica_status()
    for row in followed:
        if not (give_up and never_applies(session, row)):
            _apply_received(session, row, timeout, stop)
    follow_nobody(session, followed)
    session.run(session.dialect.make_writable)
    return {"followed": [primary_of(row) for row in followed], **session.dialect.kept}


def disable(session: Session) -> dict[str, Any]:
    """Follow nobody and stay read-only."""
    followed = session.replica_status()
    session.run(session.dialect.make_read_only)
    follow_nobody(session, followed)
    return {"followed": [primary_of(row) for row in followed], **session.dialect.kept}


def _apply_received(session: Session, row: Row, timeout: float, stop: Stop) -> None:
    """Nothing more is received and all that was is applied, or it goes on as it did.

    What is stopped is never started while both threads are: MariaDB throws away what it received then.
    """
    select(session, row)
    _has_applied(session, row)
    session.run(STOP_RECEIVING)
    try:
        otherwise = f"{session.where} has not applied what it received"
        await_fact(lambda: _has_applied(session, row), timeout, stop, otherwise)
    except DatastoreError:
        if applies(status_of(session, row)):
            session.run(START_RECEIVING)
        raise


def never_applies(session: Session, followed: Row) -> str | None:
    """Why what was received of this source will not be applied by itself; None where it is or will be."""
    now = status_of(session, followed)
    if applies(now) or _is_applied(session, now):
        return None
    return f"{session.where} cannot apply what it received: {now['Last_SQL_Error'] or 'its applier is stopped'}"


def _has_applied(session: Session, followed: Row) -> bool:
    """Raises `DatastoreRefused` where it never will by itself."""
    now = status_of(session, followed)
    applied = _is_applied(session, now)
    if not applied and (why := never_applies(session, followed)) is not None:
        raise DatastoreRefused(why)
    return applied


def _is_applied(session: Session, now: Row) -> bool:
    """Whether everything is applied that was received when the row was read."""
    if received := now.get(session.dialect.received):
        return bool(session.value(session.dialect.gtids_applied, received))
    if now.get("Auto_Position"):
        return True  # of MySQL, which counts what it received by GTID: nothing yet
    read, executed = ("Source_Log_File", "Read_Source_Log_Pos"), ("Relay_Source_Log_File", "Exec_Source_Log_Pos")
    return [now[column] for column in read] == [now[column] for column in executed]


def follow_nobody(session: Session, followed: list[Row]) -> None:
    for row in followed if session.dialect.select_replica else followed[:1]:
        select(session, row)
        session.run(STOP_REPLICA)
        session.run(FORGET_PRIMARY)


def await_fact(fact: Callable[[], bool], timeout: float, stop: Stop, otherwise: str) -> None:
    """Raises `DatastoreUnreachable` when the time is over and `DatastoreRefused` when `stop` is requested."""
    deadline = time.monotonic() + timeout
    while not fact():
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"{otherwise} after {timeout:g} s")
        if stop.wait(LOOK_EVERY):
            raise DatastoreRefused(f"{otherwise}: {stop.reason}")


def streams(row: Row) -> bool:
    return row["Replica_IO_Running"] == "Yes" and applies(row)


def applies(row: Row) -> bool:
    return bool(row["Replica_SQL_Running"] == "Yes")


def status_of(session: Session, followed: Row) -> Row:
    name = _name(followed)
    return next(row for row in session.replica_status() if _name(row) == name)


def select(session: Session, row: Row) -> None:
    """Let the next statements mean this one of those that are followed."""
    if session.dialect.select_replica is not None:
        session.run(session.dialect.select_replica, row["Connection_name"])


def _name(row: Row) -> object:
    return row.get("Connection_name", row.get("Channel_Name"))
