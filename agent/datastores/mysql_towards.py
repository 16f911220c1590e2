"""`replication.follow`: this server follows a peer without a rebuild, where its data allows that."""

from __future__ import annotations

from agent.config import Datastore as Settings
from agent.datastores import mysql_decide, mysql_follow, mysql_standing
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql_history import Side
from agent.datastores.mysql_session import Session
from agent.datastores.mysql_sources import Source
from agent.models import Json
from agent.plan import Plan, Would, refuse
from agent.stop import Stop


def plan_follow(here: Side, there: Session, source: Source, settings: Settings) -> Plan:
    """What `follow` would do now. Raises `DatastoreError` where the peer cannot be followed."""
    standing = mysql_standing.look(here.session, there, source, here, settings)
    if standing.current is None and len(standing.others) > 1:
        named = ", ".join(map(mysql_standing.source_name, standing.others))
        return refuse(f"this server follows {len(standing.others)} sources: {named}", "stop all but one first")
    return mysql_decide.follow(standing)


def follow(here: Side, there: Session, source: Source, settings: Settings, stop: Stop) -> Json:
    """Follow the peer from where the data is, and wait until this server receives from it."""
    decided = plan_follow(here, there, source, settings)
    if decided.refusal is not None:
        raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
    if decided.would is not Would.NOTHING:
        repoint(here, there, source, settings, stop)
    return {"method": str(decided.facts["method"]), "primary": source.label, **here.session.dialect.kept}


def repoint(here: Side, there: Session, source: Source, settings: Settings, stop: Stop) -> None:
    """Follow, unless this server was written to between the plan and the end of its writes."""

    def verify() -> None:
        standing = mysql_standing.look(here.session, there, source, here, settings)
        if lost := standing.comparison.lost:
            raise DatastoreRefused(f"this server was written to meanwhile: its primary lacks {lost}")

    mysql_follow.repoint(here.session, source, settings.timeout, stop, verify)
