"""A primary hands over to a peer without losing an acknowledged write, and follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent import plan
from agent.datastores import mysql_follow, mysql_history, mysql_mark, mysql_position, mysql_replication, mysql_standing
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_replication import await_fact
from agent.datastores.mysql_session import Row, Session, connect
from agent.datastores.mysql_sources import Source
from agent.models import Json
from agent.plan import Plan, Would
from agent.stop import Stop


def plan_demote(here: Session, there: Session, source: Source) -> Plan:
    """What `demote` would do now. Raises `DatastoreRefused` where the peer cannot be followed."""
    mysql_standing.check_can_lead(here, there, source, follows_us=True)
    mysql_mark.check_whole(here)
    facts = {"gtids": mysql_position.applied(here), "primary_gtids": mysql_position.applied(there)}
    if followed := here.replica_status():
        if all(map(mysql_replication.streams, followed)) and mysql_replication.primary_of(followed[0]) == source.label:
            return plan.nothing(f"this server follows {there.where} already", facts=facts)
        if mysql_replication.primary_of(followed[0]) != source.label:
            named = mysql_replication.primary_of(followed[0])
            return plan.refuse(f"this server is a replica of {named}", "use replication.follow", facts=facts)
    if obstacle := _cannot_catch_up(here, there):
        return plan.refuse(obstacle, "let the peer follow this server first", facts=facts)
    return Plan(
        Would.DISRUPT,
        f"this server would stop taking writes, wait until {there.where} has everything, and follow it",
        steps=["stop writes", f"wait until {there.where} has applied every transaction", f"follow {there.where}"],
        facts=facts,
        warnings=_warnings(here),
    )


def demote(here: Session, at: Address, there: Session, source: Source, timeout: float, stop: Stop) -> Json:
    """Stop writes, wait until the peer has applied everything, follow it. After a failure this server is as before."""
    decided = plan_demote(here, there, source)
    if decided.refusal is not None:
        raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
    if decided.would is Would.NOTHING:
        return {"primary": source.label, **here.dialect.kept}
    handed: list[str] = []

    def hand_over() -> None:
        with _no_writes(here, at, timeout):
            everything = mysql_position.applied(here)
            otherwise = f"{there.where} has not applied everything of this server"
            await_fact(lambda: mysql_history.covers(there, everything), timeout, stop, otherwise)
        if (now := mysql_position.applied(here)) != everything:
            raise DatastoreRefused(f"a user who may ignore read_only wrote meanwhile: {now} instead of {everything}")
        handed.append(everything)

    here.wait_at_most(timeout / 2)
    mysql_follow.repoint(here, source, timeout, stop, hand_over)
    lag: dict[str, Any] = {"bytes": 0, "seconds": 0, "transactions": 0}
    return {"primary": source.label, "lag": lag, "handed_over": handed[0], **here.dialect.kept}


@contextmanager
def _no_writes(here: Session, at: Address, timeout: float) -> Iterator[None]:
    """MariaDB's read_only does not bind users with READ_ONLY ADMIN or SUPER, a global lock does.

    MySQL's super_read_only binds all users.
    """
    if mysql_history.is_mysql(here):
        yield
        return
    with connect(at, timeout) as locking:
        locking.wait_at_most(timeout / 2)
        locking.run("FLUSH TABLES WITH READ LOCK")
        yield


def _cannot_catch_up(here: Session, there: Session) -> str | None:
    """Why the peer will not have everything soon; None where it follows this server, or has everything."""
    number = here.value("SELECT @@server_id")
    ours: list[Row] = [row for row in there.replica_status() if row["Source_Server_Id"] == number]
    if not ours:
        if mysql_history.covers(there, mysql_position.applied(here)):
            return None
        return f"{there.where} does not follow this server and lacks transactions of it"
    if not mysql_replication.streams(ours[0]):
        return (
            f"{there.where} does not receive from this server: {ours[0]['Last_IO_Error'] or ours[0]['Last_SQL_Error']}"
        )
    if delay := ours[0].get("SQL_Delay"):
        return f"{there.where} delays its replay by {delay} s"
    return None


def _warnings(here: Session) -> list[str]:
    if mysql_history.is_mysql(here):
        return []
    return ["users with READ_ONLY ADMIN can still write to a read-only MariaDB: let none of them be connected"]
