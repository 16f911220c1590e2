"""Hand over from a primary to a peer without losing an acknowledged write, then follow the peer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import plan
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import (
    assessment,
    filters as mysql_filters,
    follow,
    history,
    incomplete_mark,
    position,
    replication,
)
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.replication import await_fact
from agent.datastores.mysql.session import Row, Session, connect
from agent.datastores.mysql.sources import Source
from agent.models import Json
from agent.plan import Plan, Would
from agent.util.stop import Stop


def plan_demote(here: Session, there: Session, source: Source) -> Plan:
    """What `demote` would do now. Raises `DatastoreRefused` if the peer cannot be followed."""
    assessment.check_can_lead(here, there, source, follows_us=True)
    incomplete_mark.check_whole(here)
    facts = {"gtids": position.applied(here), "primary_gtids": position.applied(there)}
    if followed := here.replica_status():
        if all(map(replication.streams, followed)) and replication.primary_of(followed[0]) == source.label:
            return plan.nothing(f"this server follows {there.where} already", facts=facts)
        if replication.primary_of(followed[0]) != source.label:
            named = replication.primary_of(followed[0])
            return plan.refuse(f"this server is a replica of {named}", "use replication.follow", facts=facts)
    if filters := mysql_filters.of(there):
        reason = f"{there.where} replicates with filters, so it may lack data of this server: {filters}"
        return plan.refuse(reason, "hand over to a replica without filters", facts=facts)
    if obstacle := _cannot_catch_up(here, there):
        return plan.refuse(obstacle, "let the peer follow this server first", facts=facts)
    return Plan(
        Would.DISRUPT,
        f"this server would stop accepting writes, wait until {there.where} has everything, and follow it",
        steps=["stop writes", f"wait until {there.where} has applied every transaction", f"follow {there.where}"],
        facts=facts,
        warnings=_warnings(here),
    )


def demote(here: Session, at: Address, there: Session, source: Source, timeout: float, stop: Stop) -> Json:
    """Stop writes, wait until the peer has applied everything, follow it. On a failure everything is undone."""
    decided = plan_demote(here, there, source)
    if decided.refusal is not None:
        raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
    if decided.would is Would.NOTHING:
        return {"primary": source.label, **here.dialect.kept}
    handed: list[str] = []

    def hand_over() -> None:
        with _no_writes(here, at, timeout):
            everything = position.applied(here)
            otherwise = f"{there.where} has not applied everything of this server"
            await_fact(lambda: history.covers(there, everything), timeout, stop, otherwise)
        if (now := position.applied(here)) != everything:
            raise DatastoreRefused(f"a user exempt from read_only wrote meanwhile: {now} instead of {everything}")
        handed.append(everything)

    here.wait_at_most(timeout / 2)
    follow.repoint(here, source, timeout, stop, hand_over)
    lag: dict[str, Any] = {"bytes": 0, "seconds": 0, "transactions": 0}
    return {"primary": source.label, "lag": lag, "handed_over": handed[0], **here.dialect.kept}


@contextmanager
def _no_writes(here: Session, at: Address, timeout: float) -> Iterator[None]:
    """Block all writes. MariaDB's read_only does not apply to users with READ_ONLY ADMIN or SUPER; a global lock does.

    MySQL's super_read_only applies to all users.
    """
    if history.is_mysql(here):
        yield
        return
    with connect(at, timeout) as locking:
        locking.wait_at_most(timeout / 2)
        locking.run("FLUSH TABLES WITH READ LOCK")
        yield


def _cannot_catch_up(here: Session, there: Session) -> str | None:
    """The reason why the peer cannot catch up soon; None if it follows this server or has everything."""
    number = here.value("SELECT @@server_id")
    ours: list[Row] = [row for row in there.replica_status() if row["Source_Server_Id"] == number]
    if not ours:
        if history.covers(there, position.applied(here)):
            return None
        return f"{there.where} does not follow this server and lacks some of its transactions"
    if not replication.streams(ours[0]):
        return (
            f"{there.where} does not receive from this server: {ours[0]['Last_IO_Error'] or ours[0]['Last_SQL_Error']}"
        )
    if delay := ours[0].get("SQL_Delay"):
        return f"{there.where} delays its replay by {delay} s"
    return None


def _warnings(here: Session) -> list[str]:
    if history.is_mysql(here):
        return []
    return ["users with READ_ONLY ADMIN can still write to a read-only MariaDB: disconnect them first"]
