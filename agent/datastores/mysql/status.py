"""The status of one MySQL or MariaDB for `GET /api/unstable/datastore`. Each fact is read separately."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError
from agent.datastores.mysql import history, lag, replication, semisync as mysql_semisync
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.session import Row, Session, connect
from agent.datastores.replication_requests import Lag
from agent.datastores.status import DatastoreStatus

Fact = TypeVar("Fact")

WITHIN = 2.0
"""Timeout in seconds of a statement: a monitoring caller must not wait for a slow server."""
ABSENT = MappingProxyType(dict.fromkeys(("timeline", "slots"), "not available on this datastore"))


def status(at: Address, settings: DatastoreSettings, is_dirty: Callable[[], bool]) -> DatastoreStatus:
    """The facts; never raises `DatastoreError`. An unavailable fact is None, with its reason in `unknown`."""
    timeout = min(WITHIN, settings.timeout)
    try:
        with connect(at, timeout) as session:
            return _of(session, is_dirty)
    except DatastoreError as error:
        return DatastoreStatus(reachable=False, error=str(error))


def _of(session: Session, is_dirty: Callable[[], bool]) -> DatastoreStatus:
    facts = _Facts()
    followed = facts.get("source", session.replica_status) or []
    role = facts.get("role", lambda: replication.role(session))
    replicas = facts.get("replicas", lambda: _replicas(session)) or []
    return DatastoreStatus(
        reachable=True,
        version=facts.get("version", lambda: str(session.value("SELECT @@version"))),
        cluster_id=facts.get("cluster_id", lambda: history.cluster_id(session)),
        role=role.name if role else None,
        writable=facts.get("writable", lambda: replication.is_writable(session)),
        streaming=role.streaming if role and role.name == "replica" else None,
        source=facts.get("source", lambda: _sources(session, followed)),
        lag=(facts.get("lag", lambda: lag.unapplied(session, followed)) if followed else None) or Lag(),
        position=facts.get("position", lambda: applied(session)),
        replicas=replicas,
        synchronous=facts.get("synchronous", lambda: _synchronous(session, replicas)),
        dirty=facts.get("dirty", is_dirty),
        unknown={**facts.unknown, **ABSENT},
    )


class _Facts:
    """Collects the reasons of unavailable facts."""

    def __init__(self) -> None:
        self.unknown: dict[str, str] = {}

    def get(self, name: str, read: Callable[[], Fact]) -> Fact | None:
        try:
            return read()
        except DatastoreError as error:
            self.unknown[name] = str(error)
            return None


def _source(row: Row, silent: float | None) -> dict[str, Any]:
    """The source of a replica."""
    running = str(row["Replica_IO_Running"])
    return {
        "address": replication.primary_of(row),
        "state": {"Yes": "streaming", "Connecting": "connecting"}.get(running, "stopped"),
        "last_message_age": silent,
        "error": row["Last_IO_Error"] or row["Last_SQL_Error"] or None,
    }


def _sources(session: Session, followed: Sequence[Row]) -> dict[str, Any] | None:
    """The first source that this server does not stream from, else the first one; with the names of the others."""
    if not followed:
        return None
    shown, *rest = sorted(followed, key=replication.streams)
    source = _source(shown, lag.silence(session).seconds)
    others = [replication.primary_of(row) for row in rest]
    return source | ({"others": others} if others else {})


def _replicas(session: Session) -> list[dict[str, Any]]:
    """The connections of replicas; their received positions are not known here."""
    return [
        {"name": row["User"], "address": row["Host"], "state": row["State"], "lag_bytes": None}
        for row in session.run("SHOW PROCESSLIST")
        if row["Command"] in replication.SENDS
    ]


def _synchronous(session: Session, replicas: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The state of semi-synchronous replication; None if commits wait for no replica."""
    semisync = mysql_semisync.look(session)
    if not semisync.enabled:
        return None
    return semisync.as_json([str(each["address"]) for each in replicas])
