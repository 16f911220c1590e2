"""The plan to end the replication of one server, with warnings about its source and about read-only."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError
from agent.datastores.mysql import peer, replication, semisync as mysql_semisync
from agent.datastores.mysql.session import Session
from agent.plan import Plan, Would, nothing, refuse

NOT_KEPT = (
    "MariaDB does not stay read-only after a restart: set read_only = ON in its configuration file before the next "
    "restart"
)


def plan(session: Session, settings: DatastoreSettings) -> Plan:
    """What `mysql_replication.disable` would do now."""
    role = replication.role(session)
    if role.name == "primary":
        return refuse("not a replica: this server is a primary", "run this action on a replica")
    if role.name == "standalone":
        return nothing("this server follows no source already")
    sources = [replication.primary_of(row) for row in session.replica_status()]
    return Plan(
        Would.CHANGE,
        f"this server would no longer follow {', '.join(sources)}, and stay read-only",
        steps=["refuse writes", "stop replication", "forget the source"],
        warnings=[*_of_the_source(session, settings), *([NOT_KEPT] if session.dialect.product == "MariaDB" else [])],
        facts={"followed": sources},
    )


def _of_the_source(session: Session, settings: DatastoreSettings) -> Iterator[str]:
    """A warning if the source's commits would wait for the missing replica."""
    if not mysql_semisync.look(session).acknowledges:
        return
    for row in session.replica_status():
        address = replication.primary_of(row)
        try:
            with peer.at_source(settings, row) as source:
                semisync = mysql_semisync.look(source)
        except DatastoreError as error:
            yield f"this server acknowledges the commits of {address}; it is unknown whether others do: {error}"
            continue
        clients = max(1, semisync.clients)  # the source counts this server a moment after it begins to acknowledge
        if semisync.enabled and clients <= semisync.required:
            yield (
                f"this is one of {clients} replicas that acknowledge the commits of {address}, which requires "
                f"{semisync.required}: without it a commit there waits {semisync.waits:g} s"
            )
