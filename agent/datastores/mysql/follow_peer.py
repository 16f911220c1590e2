"""`replication.follow`: make this server follow a peer without a rebuild, if its data permits it."""

from __future__ import annotations

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import assessment as mysql_assessment, follow as mysql_follow
from agent.datastores.mysql.decide import decide_follow
from agent.datastores.mysql.history import Side
from agent.datastores.mysql.session import Session
from agent.datastores.mysql.sources import Source
from agent.models import Json
from agent.plan import Plan, Would, refuse
from agent.util.stop import Stop


def plan_follow(here: Side, there: Session, source: Source, settings: DatastoreSettings) -> Plan:
    """What `follow` would do now. Raises `DatastoreError` if the peer cannot be followed."""
    assessment = mysql_assessment.look(here.session, there, source, here, settings)
    if assessment.current is None and len(assessment.others) > 1:
        named = ", ".join(map(mysql_assessment.source_name, assessment.others))
        return refuse(f"this server follows {len(assessment.others)} sources: {named}", "stop all but one first")
    return decide_follow(assessment)


def follow(here: Side, there: Session, source: Source, settings: DatastoreSettings, stop: Stop) -> Json:
    """Follow the peer from the present position, and wait until this server receives from it."""
    decided = plan_follow(here, there, source, settings)
    if decided.refusal is not None:
        raise DatastoreRefused(f"{decided.refusal.reason}; {decided.refusal.lifted_by}")
    if decided.would is not Would.NOTHING:
        repoint(here, there, source, settings, stop)
    return {"method": str(decided.facts["method"]), "primary": source.label, **here.session.dialect.kept}


def repoint(here: Side, there: Session, source: Source, settings: DatastoreSettings, stop: Stop) -> None:
    """Follow, unless clients wrote to this server between the plan and the end of its writes."""

    def verify() -> None:
        assessment = mysql_assessment.look(here.session, there, source, here, settings)
        if lost := assessment.comparison.lost:
            raise DatastoreRefused(f"this server was written to meanwhile: its primary lacks {lost}")

    mysql_follow.repoint(here.session, source, settings.timeout, stop, verify)
