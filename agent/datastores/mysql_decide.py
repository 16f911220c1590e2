"""What a resync does, decided from how this server stands to its primary. Pure: nothing here talks to a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.datastores.mysql_standing import Copying, Standing, source_name
from agent.datastores.requests import ResyncRequest
from agent.plan import Discard, Needs, Plan, Would, nothing, refuse

COPY_NEEDS = ("ALL PRIVILEGES on this server",)


def resync(standing: Standing, request: ResyncRequest, copying: Callable[[], Copying]) -> Plan:
    """The plan. `copying` is asked for only where a copy is the way."""
    return (
        _refuse_rewind(request)
        or _refuse_unnamed_source(standing, request)
        or _refuse_wrong_adoption(standing, request)
        or _refuse_foreign(standing, request)
        or _refuse_to_lose(standing, request)
        or _in_step(standing, request)
        or _repoint(standing, request)
        or _copy(standing, request, copying)
    )


def follow(standing: Standing) -> Plan:
    """The plan of `replication.follow`: as a resync without any copy."""
    request = ResyncRequest(mode="follow", primary="named")
    return (
        _refuse_foreign(standing, request)
        or _refuse_to_lose(standing, request)
        or _in_step(standing, request)
        or _repoint(standing, request)
        or refuse(_why_copy(standing, request), "use resync_slave_db", facts=_facts(standing))
    )


def _refuse_rewind(request: ResyncRequest) -> Plan | None:
    if request.mode != "rewind":
        return None
    return refuse("MySQL and MariaDB cannot be rewound", "use mode auto, follow or copy")


def _refuse_unnamed_source(standing: Standing, request: ResyncRequest) -> Plan | None:
    if len(standing.sources) < 2 or request.primary is not None:
        return None
    reason = f"this server follows {len(standing.sources)} sources: {', '.join(standing.sources)}"
    return refuse(reason, "name one as primary: a name of [datastore.peers]", facts=_facts(standing))


def _refuse_wrong_adoption(standing: Standing, request: ResyncRequest) -> Plan | None:
    """`adopt` is written out to name the primary's cluster: another name is a mistake, `force` or not."""
    if request.adopt in (None, standing.cluster_there):
        return None
    reason = f"adopt names {request.adopt}, and {standing.there} belongs to the cluster {standing.cluster_there}"
    return refuse(reason, "check the address, and leave adopt out within one cluster", facts=_facts(standing))


def _refuse_foreign(standing: Standing, request: ResyncRequest) -> Plan | None:
    if standing.comparison.shared is not False or standing.worthless or _adopts(standing, request):
        return None
    reason = (
        f"{standing.there} belongs to another cluster: no transaction of this server ({standing.cluster_here}) "
        f"is in its history ({standing.cluster_there})"
    )
    return refuse(reason, f'adopt "{standing.cluster_there}" replaces this server\'s data', facts=_facts(standing))


def _refuse_to_lose(standing: Standing, request: ResyncRequest) -> Plan | None:
    if request.force or standing.worthless or _adopts(standing, request):
        return None
    compared = standing.comparison
    if compared.empty:
        reason = f"this server has databases ({', '.join(standing.databases)}) and no GTIDs: their worth is not known"
    elif compared.lost:
        reason = f"this server has {compared.lost_count} transactions that {standing.there} lacks: {compared.lost}"
    elif compared.shared is None:
        reason = f"it is not known whether this server and {standing.there} share a history: {compared.unproved}"
    else:
        return None
    return refuse(reason, "force gives this data up", discards=_discards(standing), facts=_facts(standing))


def _in_step(standing: Standing, request: ResyncRequest) -> Plan | None:
    if request.mode == "copy" or not standing.receives or not _whole(standing):
        return None
    summary = f"this server follows {standing.there} already"
    return nothing(summary, warnings=_replay(standing), facts=_facts(standing, method="none"))


def _repoint(standing: Standing, request: ResyncRequest) -> Plan | None:
    if request.mode == "copy" or not _whole(standing) or not standing.comparison.reachable:
        return None
    would = Would.DISRUPT if standing.writable else Would.CHANGE
    return Plan(
        would,
        f"this server would follow {standing.there} from where its data is",
        steps=["make this server read-only", f"follow {standing.there} by GTID"],
        warnings=_replay(standing),
        facts=_facts(standing, method="follow"),
    )


def _copy(standing: Standing, request: ResyncRequest, copying: Callable[[], Copying]) -> Plan:
    why = _why_copy(standing, request)
    if request.mode == "follow":
        return refuse(f"a copy is needed: {why}", "use mode auto or copy", facts=_facts(standing))
    how = copying()
    facts = _facts(standing, method=how.method) | {
        "why": why,
        "where": "in place" if how.fixed else "beside",
        "why_in_place": how.fixed,
        "views_left_out": list(how.left_out),
    }
    if obstacle := _obstacle(standing, request, how):
        return refuse(*obstacle, facts=facts)
    return Plan(
        Would.DESTROY,
        f"the data of this server would be replaced by a copy of {standing.there}, as {why}",
        steps=_steps(standing, how),
        discards=_discards(standing, request, how),
        needs=Needs(disk_bytes=how.needs, privileges=COPY_NEEDS),
        warnings=_copy_warnings(how),
        facts=facts,
    )


def _obstacle(standing: Standing, request: ResyncRequest, how: Copying) -> tuple[str, str] | None:
    """What forbids the copy, and what would lift that."""
    if how.foreign and not request.force:
        named = ", ".join(map(str, how.foreign[:5]))
        return f"files that do not belong to the server lie among its data: {named}", "move them away, or use force"
    if standing.others and not request.force:
        named = ", ".join(map(source_name, standing.others))
        return f"a copy would remove what this server has from {named}", "force gives it up"
    if how.fixed and not standing.worthless and not request.force:
        return f"the copy would have to replace the data in place, without a way back: {how.fixed}", "force allows it"
    return None


def _why_copy(standing: Standing, request: ResyncRequest) -> str:
    compared = standing.comparison
    if request.mode == "copy":
        return "a copy was requested"
    if standing.dirty:
        return "its data is not whole"
    if compared.shared is False and not compared.empty:
        return "its data is of another cluster"
    if compared.lost:
        return "it has transactions of its own"
    if standing.broken:
        return f"its applier stopped: {standing.broken}"
    return compared.unreachable_why or compared.unproved or "its data is not that of the primary"


def _whole(standing: Standing) -> bool:
    """Whether the data of this server is an earlier state of the primary's data."""
    compared = standing.comparison
    earlier = compared.shared or (compared.empty and not standing.databases)
    return bool(earlier) and not compared.lost and not standing.dirty and not standing.broken


def _adopts(standing: Standing, request: ResyncRequest) -> bool:
    return standing.comparison.shared is not True and request.adopt == standing.cluster_there


def _replay(standing: Standing) -> list[str]:
    """A delayed or paused replay is mentioned and left as it is."""
    row = standing.current or {}
    warnings = []
    if delay := row.get("SQL_Delay"):
        warnings.append(f"the replay is delayed by {delay} s on purpose")
    if row and row["Replica_SQL_Running"] != "Yes":
        warnings.append("the replay is stopped: START REPLICA SQL_THREAD continues it")
    return warnings


def _steps(standing: Standing, how: Copying) -> list[str]:
    copy = f"clone {standing.there}" if how.method == "clone" else f"dump {standing.there} to a complete file"
    if how.fixed:
        return [copy, "delete the data of this server", "read the copy in", f"follow {standing.there}"]
    return [
        f"{copy} beside the data of this server",
        "start a second server on the copy and compare the copy with its source",
        "stop this server, exchange the directories, start this server",
        f"follow {standing.there}; only then remove the old data",
    ]


def _discards(standing: Standing, request: ResyncRequest | None = None, how: Copying | None = None) -> list[Discard]:
    compared = standing.comparison
    discards = []
    if compared.lost and compared.shared and not standing.dirty:
        discards.append(Discard(f"transactions {compared.lost}", compared.lost_count, "transactions"))
    elif not standing.worthless and compared.shared is not True:
        named = ", ".join(standing.databases) or "none"
        discards.append(
            Discard(f"the databases of {standing.cluster_here}: {named}", len(standing.databases), "databases")
        )
    if how is not None:
        discards += [Discard(f"what came from the source {source_name(row)}", None, "bytes") for row in standing.others]
        discards += [Discard(f"the file {each}", 1, "files") for each in how.foreign]
    return discards


def _copy_warnings(how: Copying) -> list[str]:
    warnings = [f"there is no way back: {how.fixed}"] if how.fixed else []
    return warnings + [f"the view {each} is invalid on the primary and would be left out" for each in how.left_out]


def _facts(standing: Standing, method: str | None = None) -> dict[str, Any]:
    compared = standing.comparison
    facts = {
        "cluster_id": standing.cluster_here,
        "primary_cluster_id": standing.cluster_there,
        "gtids": compared.here,
        "primary_gtids": compared.there,
        "lost": compared.lost,
        "behind": compared.behind,
        "sources": list(standing.sources),
    }
    return facts if method is None else facts | {"method": method}
