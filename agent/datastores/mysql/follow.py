"""Make one MySQL or MariaDB follow another by GTID: after a copy, or from its present position."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql import history, replication
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.replication import (
    START_RECEIVING,
    START_REPLICA,
    STOP_REPLICA,
    applies,
    await_fact,
    select,
)
from agent.datastores.mysql.session import Row, Session, password_of
from agent.datastores.mysql.sources import Source
from agent.datastores.termination import Terminated
from agent.util.stop import Stop

NAMELESS: Row = {"Connection_name": ""}
STORED = "SELECT user_name AS user, user_password AS password FROM mysql.slave_master_info WHERE channel_name = %s"
MASTER_INFO = "master.info"
USER_LINE, PASSWORD_LINE = 4, 5


@dataclass(frozen=True, slots=True)
class Before:
    """The source of a server and whether it accepted writes, to restore both."""

    row: Row | None
    address: Address | None
    writable: bool
    start: str | None


def follow_copy(session: Session, source: Source, timeout: float, stop: Stop) -> None:
    """Make the copy follow only `source` from the copy's position, and wait until it follows; makes it read-only."""
    replication.follow_no_source(session, session.replica_status())
    select(session, NAMELESS)
    session.run(session.dialect.make_read_only)
    _change(session, source.replication)
    session.run(START_REPLICA)
    _await_receiving(session, NAMELESS, timeout, stop)


def repoint(
    session: Session, source: Source, timeout: float, stop: Stop, verify: Callable[[], None] | None = None
) -> None:
    """Follow `source` from the present position; delay, TLS options and a paused replay are not changed.

    `verify` is called when this server no longer accepts writes, and raises if it must not follow. On any failure
    the previous source or the writability is restored.
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
        if isinstance(error, DatastoreError | Terminated):
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreRefused(f"{why}; {left}") from None
        raise


def pause(session: Session) -> None:
    """Stop receiving and applying; the source's settings are kept."""
    for row in session.replica_status():
        select(session, row)
        session.run(STOP_REPLICA)


def _change(session: Session, to: Address) -> None:
    password = password_of(to) or ""
    session.run(session.dialect.follow, to.host, to.port, to.user, password, secret=password)


def _set_position(session: Session) -> None:
    """Set the replica position of a MariaDB behind its own transactions: it has two GTID positions."""
    if history.is_mysql(session):
        return
    wanted = history.follow_position(session)
    if wanted != session.value("SELECT @@gtid_slave_pos"):
        session.run("SET GLOBAL gtid_slave_pos = %s", wanted)


def _await_receiving(session: Session, followed: Row, timeout: float, stop: Stop) -> None:
    """Wait until the server receives. Raises `DatastoreRefused` with the server's error if it does not."""

    def receives() -> bool:
        row = replication.status_of(session, followed)
        if error := row["Last_SQL_Error"] or (row["Replica_IO_Running"] == "No" and row["Last_IO_Error"]):
            raise DatastoreRefused(f"{session.where} does not follow {replication.primary_of(row)}: {error}")
        return bool(row["Replica_IO_Running"] == "Yes")

    try:
        await_fact(receives, timeout, stop, f"{session.where} does not follow its primary yet")
    except DatastoreUnreachable as error:
        row = replication.status_of(session, followed)
        raise DatastoreRefused(f"{error}: {row['Last_IO_Error'] or row['Replica_IO_State']}") from None


def _remember(session: Session) -> Before:
    writable = replication.is_writable(session)
    followed = session.replica_status()
    if not followed:
        return Before(None, None, writable, None)
    row = followed[0]
    start = None
    if row["Replica_IO_Running"] != "No":
        start = START_REPLICA if applies(row) else START_RECEIVING
    return Before(row, _stored_account(session, row), writable, start)


def _stored_account(session: Session, row: Row) -> Address:
    """The replication account as stored by the server; without the password if the agent may not read it."""
    address = Address(row["Source_User"], row["Source_Host"], int(row["Source_Port"]))
    if history.is_mysql(session):
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
    """Restore the previous source or the writability; returns a sentence about the state reached."""
    try:
        if before.row is None:
            replication.follow_no_source(session, session.replica_status())
            if before.writable:
                session.run(session.dialect.make_writable)
            return "this server is unchanged"
        assert before.address is not None
        select(session, before.row)
        session.run(STOP_REPLICA)
        _change(session, before.address)
        if before.start is not None:
            session.run(before.start)
        if before.writable:
            session.run(session.dialect.make_writable)
        return f"this server follows {replication.primary_of(before.row)} as before"
    except DatastoreError as error:
        return f"its previous replication could not be restored: {error}"
