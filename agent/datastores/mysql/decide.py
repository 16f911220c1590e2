"""Decide what a resync does from the facts about this server and its primary. Pure functions without I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.datastores.mysql.assessment import Assessment, Copying, source_name
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Discard, Needs, Plan, Would, nothing, refuse

COPY_NEEDS = ("ALL PRIVILEGES on this server",)


def decide_resync(assessment: Assessment, request: ResyncRequest, copying: Callable[[], Copying]) -> Plan:
    """The plan. `copying` is called only if a copy is necessary."""
    return (
        _refuse_rewind(request)
        or _refuse_unnamed_source(assessment, request)
        or _refuse_wrong_adoption(assessment, request)
        or _refuse_foreign(assessment, request)
        or _refuse_to_lose(assessment, request)
        or _in_step(assessment, request)
        or _repoint(assessment, request)
        or _copy(assessment, request, copying)
    )


def decide_follow(assessment: Assessment) -> Plan:
    """The plan of `replication.follow`: a resync without a copy."""
    request = ResyncRequest(mode="follow", primary="named")
    return (
        _refuse_foreign(assessment, request)
        or _refuse_to_lose(assessment, request)
        or _in_step(assessment, request)
        or _repoint(assessment, request)
        or refuse(_why_copy(assessment, request), "use resync_slave_db", facts=_facts(assessment))
    )


def _refuse_rewind(request: ResyncRequest) -> Plan | None:
    if request.mode != "rewind":
        return None
    return refuse("MySQL and MariaDB cannot be rewound", "use mode auto, follow or copy")


def _refuse_unnamed_source(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    if len(assessment.sources) < 2 or request.primary is not None:
        return None
    reason = f"this server follows {len(assessment.sources)} sources: {', '.join(assessment.sources)}"
    return refuse(reason, "name one as primary: a name of [datastore.peers]", facts=_facts(assessment))


def _refuse_wrong_adoption(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    """Refuse an `adopt` that is not the primary's cluster identifier: it is a mistake, also with `force`."""
    if request.adopt in (None, assessment.cluster_there):
        return None
    reason = f"adopt names {request.adopt}, and {assessment.there} belongs to the cluster {assessment.cluster_there}"
    return refuse(reason, "check the address, and leave adopt out within one cluster", facts=_facts(assessment))


def _refuse_foreign(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    if assessment.comparison.shared is not False or assessment.worthless or _adopts(assessment, request):
        return None
    reason = (
        f"{assessment.there} belongs to another cluster: no transaction of this server ({assessment.cluster_here}) "
        f"is in its history ({assessment.cluster_there})"
    )
    return refuse(reason, f'adopt "{assessment.cluster_there}" replaces this server\'s data', facts=_facts(assessment))


def _refuse_to_lose(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    if request.force or assessment.worthless or _adopts(assessment, request):
        return None
    compared = assessment.comparison
    if compared.empty:
        names = ", ".join(assessment.databases)
        reason = f"this server has databases ({names}) and no GTIDs: it is unknown whether the primary has them"
    elif compared.lost:
        reason = f"this server has {compared.lost_count} transactions that {assessment.there} lacks: {compared.lost}"
    elif compared.shared is None:
        reason = f"it is unknown whether this server and {assessment.there} share a history: {compared.unproved}"
    else:
        return None
    return refuse(reason, "force discards this data", discards=_discards(assessment), facts=_facts(assessment))


def _in_step(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    if request.mode == "copy" or not assessment.receives or not _whole(assessment):
        return None
    summary = f"this server follows {assessment.there} already"
    return nothing(summary, warnings=_replay(assessment), facts=_facts(assessment, method="none"))


def _repoint(assessment: Assessment, request: ResyncRequest) -> Plan | None:
    if request.mode == "copy" or not _whole(assessment) or not assessment.comparison.reachable:
        return None
    would = Would.DISRUPT if assessment.writable else Would.CHANGE
    return Plan(
        would,
        f"this server would follow {assessment.there} from its present position",
        steps=["make this server read-only", f"follow {assessment.there} by GTID"],
        warnings=_replay(assessment),
        facts=_facts(assessment, method="follow"),
    )


def _copy(assessment: Assessment, request: ResyncRequest, copying: Callable[[], Copying]) -> Plan:
    why = _why_copy(assessment, request)
    if request.mode == "follow":
        return refuse(f"a copy is needed: {why}", "use mode auto or copy", facts=_facts(assessment))
    how = copying()
    facts = _facts(assessment, method=how.method) | {
        "why": why,
        "where": "in place" if how.fixed else "beside",
        "why_in_place": how.fixed,
        "views_left_out": list(how.left_out),
    }
    if obstacle := _obstacle(assessment, request, how):
        return refuse(*obstacle, facts=facts)
    return Plan(
        Would.DESTROY,
        f"the data of this server would be replaced by a copy of {assessment.there}: {why}",
        steps=_steps(assessment, how),
        discards=_discards(assessment, request, how),
        needs=Needs(disk_bytes=how.needs, privileges=COPY_NEEDS),
        warnings=_copy_warnings(how),
        facts=facts,
    )


def _obstacle(assessment: Assessment, request: ResyncRequest, how: Copying) -> tuple[str, str] | None:
    """The reason why the copy is refused, and the cure."""
    if how.foreign and not request.force:
        named = ", ".join(map(str, how.foreign[:5]))
        return f"there are foreign files among the server's data: {named}", "move them away, or use force"
    if assessment.loses_databases and not request.force and not _adopts(assessment, request):
        named = ", ".join(assessment.only_here[:5])
        return f"this server has databases that {assessment.there} lacks: {named}", "force discards them"
    if assessment.filters_there and not request.force:
        return (
            f"{assessment.there} replicates with filters and may lack data of its source: {assessment.filters_there}",
            "name a primary without filters, or use force",
        )
    if assessment.others and not request.force:
        named = ", ".join(map(source_name, assessment.others))
        return f"a copy would remove the data that this server received from {named}", "force discards it"
    if how.fixed and not assessment.worthless and not request.force:
        return (
            f"the copy would replace the data in place, and the old data cannot be restored: {how.fixed}",
            "force allows it",
        )
    return None


def _why_copy(assessment: Assessment, request: ResyncRequest) -> str:
    compared = assessment.comparison
    if request.mode == "copy":
        return "a copy was requested"
    if assessment.dirty:
        return "its data is incomplete"
    if compared.shared is False and not compared.empty:
        return "its data belongs to another cluster"
    if compared.lost:
        return "it has transactions of its own"
    if assessment.broken:
        return f"its applier stopped: {assessment.broken}"
    return compared.unreachable_why or compared.unproved or "it does not have the primary's data"


def _whole(assessment: Assessment) -> bool:
    """Whether this server's data is an earlier state of the primary's data."""
    compared = assessment.comparison
    earlier = compared.shared or (compared.empty and not assessment.databases)
    return bool(earlier) and not compared.lost and not assessment.dirty and not assessment.broken


def _adopts(assessment: Assessment, request: ResyncRequest) -> bool:
    return assessment.comparison.shared is not True and request.adopt == assessment.cluster_there


def _replay(assessment: Assessment) -> list[str]:
    """Warnings about a delayed or paused replay, which is not changed."""
    row = assessment.current or {}
    warnings = []
    if delay := row.get("SQL_Delay"):
        warnings.append(f"the replay is delayed by {delay} s on purpose")
    if row and row["Replica_SQL_Running"] != "Yes":
        warnings.append("the replay is stopped: START REPLICA SQL_THREAD continues it")
    return warnings


def _steps(assessment: Assessment, how: Copying) -> list[str]:
    copy = f"clone {assessment.there}" if how.method == "clone" else f"dump {assessment.there} to a complete file"
    if how.fixed:
        return [copy, "delete the data of this server", "load the copy", f"follow {assessment.there}"]
    return [
        f"{copy} beside the data of this server",
        "start a second server on the copy and compare the copy with its source",
        "stop this server, exchange the directories, start this server",
        f"follow {assessment.there}; only then remove the old data",
    ]


def _discards(
    assessment: Assessment, request: ResyncRequest | None = None, how: Copying | None = None
) -> list[Discard]:
    compared = assessment.comparison
    discards = []
    if compared.lost and compared.shared and not assessment.dirty:
        discards.append(Discard(f"transactions {compared.lost}", compared.lost_count, "transactions"))
    elif not assessment.worthless and compared.shared is not True:
        named = ", ".join(assessment.databases) or "none"
        discards.append(
            Discard(f"the databases of {assessment.cluster_here}: {named}", len(assessment.databases), "databases")
        )
    if how is not None and assessment.loses_databases and compared.shared:
        discards += [
            Discard(f"the database {each}, which the primary lacks", 1, "databases") for each in assessment.only_here
        ]
    if how is not None:
        discards += [
            Discard(f"the data from the source {source_name(row)}", None, "bytes") for row in assessment.others
        ]
        discards += [Discard(f"the file {each}", 1, "files") for each in how.foreign]
    return discards


def _copy_warnings(how: Copying) -> list[str]:
    warnings = [f"the old data cannot be restored: {how.fixed}"] if how.fixed else []
    return warnings + [f"the view {each} is invalid on the primary and would be left out" for each in how.left_out]


def _facts(assessment: Assessment, method: str | None = None) -> dict[str, Any]:
    compared = assessment.comparison
    facts = {
        "cluster_id": assessment.cluster_here,
        "primary_cluster_id": assessment.cluster_there,
        "gtids": compared.here,
        "primary_gtids": compared.there,
        "lost": compared.lost,
        "behind": compared.behind,
        "sources": list(assessment.sources),
    }
    return facts if method is None else facts | {"method": method}
