"""Read the lag of a replica: transactions not received, and transactions received but not applied."""

from __future__ import annotations

from collections.abc import Sequence

from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import gtid
from agent.datastores.mysql.peer import OldPrimary
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.session import Row, Session
from agent.datastores.replication_requests import Lag

SILENT = (
    "SELECT TIMESTAMPDIFF(SECOND, MAX(last_heartbeat_timestamp), NOW()) AS seconds "
    "FROM performance_schema.replication_connection_status WHERE last_heartbeat_timestamp > '1970-01-02'"
)


def behind(session: Session, followed: Sequence[Row], olds: Sequence[OldPrimary]) -> Lag:
    """The data that would be lost if the sources, which answered, failed now."""
    theirs = ",".join(str(old.applied) for old in olds if old.applied)
    ours = ",".join(filter(None, [applied(session), *_received(session, followed)]))
    transactions = _missing(session, ours, theirs)
    sizes = [_unreceived_bytes(row, old.log) for row, old in zip(followed, olds, strict=True)]
    known = [each for each in sizes if each is not None]
    return Lag(
        bytes=0 if transactions == 0 else (sum(known) if len(known) == len(sizes) else None),
        seconds=0.0 if transactions == 0 else silence(session).seconds,
        transactions=transactions,
    )


def silence(session: Session) -> Lag:
    """The age of the last message of an unreachable source, if the server records it."""
    if session.dialect.product != "MySQL":
        return Lag()
    try:
        seconds = session.value(SILENT)
    except DatastoreRefused:
        return Lag()
    return Lag(seconds=None if seconds is None else float(max(0, seconds)))


def unapplied(session: Session, followed: Sequence[Row]) -> Lag:
    """The received data that is not applied."""
    transactions = _missing(session, applied(session), ",".join(_received(session, followed)))
    seconds = [row["Seconds_Behind_Source"] for row in followed if row["Seconds_Behind_Source"] is not None]
    same_file = all(row["Source_Log_File"] == row["Relay_Source_Log_File"] for row in followed)
    size = sum(int(row["Read_Source_Log_Pos"]) - int(row["Exec_Source_Log_Pos"]) for row in followed)
    if transactions == 0:
        size, same_file = 0, True  # with several appliers the log position advances later than the GTIDs
    return Lag(
        bytes=max(0, size) if same_file else None,
        seconds=float(max(seconds)) if seconds else None,
        transactions=transactions,
    )


def errant(session: Session, theirs: Sequence[str]) -> str:
    """The GTIDs of this server that none of its sources has; may be empty."""
    if session.dialect.product == "MySQL":
        lost = session.value("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, %s)", ",".join(theirs))
        return "".join(str(lost).split())
    ours = gtid.state_of(applied(session))
    return gtid.text_of(gtid.after_forks(ours, gtid.state_of(*theirs)))


def delayed(followed: Sequence[Row]) -> str | None:
    """A sentence about a configured delay, or None."""
    delay = max((int(row["SQL_Delay"] or 0) for row in followed), default=0)
    return f"this server is configured to apply {delay} s late" if delay else None


def _received(session: Session, followed: Sequence[Row]) -> list[str]:
    return [str(row.get(session.dialect.received) or "") for row in followed]


def _missing(session: Session, ours: str, theirs: str) -> int:
    """Number of transactions in `theirs` that are not in `ours`."""
    if session.dialect.product == "MySQL":
        return gtid.count(str(session.value("SELECT GTID_SUBTRACT(%s, %s)", theirs, ours)))
    return gtid.missing(gtid.state_of(ours), gtid.state_of(theirs))


def _unreceived_bytes(row: Row, log: Sequence[Row]) -> int | None:
    """Bytes of the source's binary log after the received position."""
    names = [str(each["Log_name"]) for each in log]
    if row["Source_Log_File"] not in names:
        return None
    rest = log[names.index(row["Source_Log_File"]) :]
    return max(0, sum(int(each["File_size"]) for each in rest) - int(row["Read_Source_Log_Pos"]))
