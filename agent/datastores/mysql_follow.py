"""One MySQL or MariaDB follows another by GTID: after a copy, or from where its data is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.datastores import mysql_history, mysql_replication
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_replication import START_RECEIVING, START_REPLICA, STOP_REPLICA, applies, await_fact, select
from agent.datastores.mysql_session import Row, Session, password_of
from agent.datastores.mysql_sources import Source
from agent.stop import Stop

NAMELESS: Row = {"Connection_name": ""}
STORED = "SELECT user_name AS user, user_password AS password FROM mysql.slave_master_info WHERE channel_name = %s"
MASTER_INFO = "master.info"
USER_LINE, PASSWORD_LINE = 4, 5


@dataclass(frozen=True, slots=True)
class Before:
    """What a server followed and whether it took writes, to put it back as it was."""

    row: Row | None
    address: Address | None
    writable: bool
    start: str | None


def follow_copy(session: Session, source: Source, timeout: float, stop: Stop) -> None:
    """Follow that server alone, from where a copy of it is, and await that it does so. Read-only from then on."""
    mysql_replication.follow_nobody(session, session.replica_status())
    select(session, NAMELESS)
    session.run(session.dialect.make_read_only)
    _change(session, source.replication)
    session.run(START_REPLICA)
    _await_receiving(session, NAMELESS, timeout, stop)


def repoint(
    session: Session, source: Source, timeout: float, stop: Stop, verify: Callable[[], None] | None = None
) -> None:
    """Follow that server from where the data is; a delay, TLS options and a paused replay stay as they are.

    `verify` is called when this server takes writes no more, and raises where it must not follow. After any failure
    the server follows, or takes writes, as before.
    """
    before = _remember(session)
    session.run(session.dialect.make_read_only)
    try:
        if verify is not None:
            verify()
        row = before.row or NAMELESS
        select(session, row)
        if before.row is not None:
            session.run(STOP_REPLICA)
        _set_position(session)
        _change(session, source.replication)
        paused = before.row is not None and not applies(before.row)
        session.run(START_RECEIVING if paused else START_REPLICA)
        _await_receiving(session, row, timeout, stop)
    except BaseException as error:
        left = _put_back(session, before)
        if isinstance(error, DatastoreError):
            raise DatastoreRefused(f"{error}; {left}") from None
        raise


def pause(session: Session) -> None:
    """Receive and apply nothing more; whom to follow is not forgotten."""
    for row in session.replica_status():
        select(session, row)
        session.run(STOP_REPLICA)


def _change(session: Session, to: Address) -> None:
    password = password_of(to) or ""
    session.run(session.dialect.follow, to.host, to.port, to.user, password, secret=password)


def _set_position(session: Session) -> None:
    """Let a MariaDB that wrote transactions of its own follow from after these: it keeps two positions."""
    if mysql_history.is_mysql(session):
        return
    wanted = mysql_history.follow_position(session)
    if wanted != session.value("SELECT @@gtid_slave_pos"):
        session.run("SET GLOBAL gtid_slave_pos = %s", wanted)


def _await_receiving(session: Session, followed: Row, timeout: float, stop: Stop) -> None:
    """Raises `DatastoreRefused` with the server's own error where nothing is received."""

    def receives() -> bool:
        row = mysql_replication.status_of(session, followed)
        if error := row["Last_SQL_Error"] or (row["Replica_IO_Running"] == "No" and row["Last_IO_Error"]):
            raise DatastoreRefused(f"{session.where} does not follow {mysql_replication.primary_of(row)}: {error}")
        return bool(row["Replica_IO_Running"] == "Yes")

    try:
        await_fact(receives, timeout, stop, f"{session.where} does not follow its primary yet")
    except DatastoreUnreachable as error:
        row = mysql_replication.status_of(session, followed)
        raise DatastoreRefused(f"{error}: {row['Last_IO_Error'] or row['Replica_IO_State']}") from None


def _remember(session: Session) -> Before:
    writable = mysql_replication.is_writable(session)
    followed = session.replica_status()
    if not followed:
        return Before(None, None, writable, None)
    row = followed[0]
    start = None
    if row["Replica_IO_Running"] != "No":
        start = START_REPLICA if applies(row) else START_RECEIVING
    return Before(row, _stored_account(session, row), writable, start)


def _stored_account(session: Session, row: Row) -> Address:
    """The account that a replica follows with, as the server stores it; without a password that we may not see."""
    address = Address(row["Source_User"], row["Source_Host"], int(row["Source_Port"]))
    if mysql_history.is_mysql(session):
        with suppress(DatastoreError, IndexError):
            [stored] = session.run(STORED, row["Channel_Name"])
            return replace(address, password=str(stored["password"]))
        return address
    with suppress(OSError, IndexError):
        name = str(row["Connection_name"])
        file = Path(str(session.value("SELECT @@datadir")), f"master-{name}.info" if name else MASTER_INFO)
        lines = file.read_text().splitlines()
        if lines[USER_LINE] == address.user:
            return replace(address, password=lines[PASSWORD_LINE])
    return address


def _put_back(session: Session, before: Before) -> str:
    """Follow, or take writes, as before; returns a sentence about what this server does now."""
    try:
        if before.row is None:
            mysql_replication.follow_nobody(session, session.replica_status())
            if before.writable:
                session.run(session.dialect.make_writable)
            return "this server is as before"
        assert before.address is not None
        select(session, before.row)
        session.run(STOP_REPLICA)
        _change(session, before.address)
        if before.start is not None:
            session.run(before.start)
        if before.writable:
            session.run(session.dialect.make_writable)
        return f"this server follows {mysql_replication.primary_of(before.row)} as before"
    except DatastoreError as error:
        return f"what it did before could not be restored: {error}"
