"""The plan of a resync for a stopped member, whose data can be inspected only after a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import plan
from agent.datastores.base import DatastoreError
from agent.datastores.mongodb import primary
from agent.datastores.mongodb.decide import check_request
from agent.datastores.refusal import PlanRefused
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Plan

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB
    from agent.supervisors.base import Supervisor


def plan_start(here: MongoDB, service: Supervisor | None, request: ResyncRequest) -> Plan:
    """The plan for a stopped server. Raises `DatastoreError`."""
    if service is None:
        return plan.refuse(f"MongoDB at {here.address} is down, and there is no [service] to start it", "set [service]")
    warnings = []
    try:
        check_request(request)
        if request.primary is not None or here.primary is not None:
            primary.own_address(here, primary.find(here, None, request))
    except PlanRefused as unfit:
        return unfit.plan
    except DatastoreError as error:
        if request.primary is not None:
            raise
        warnings.append(f"datastore.primary cannot be queried: {error}")
    steps = ["start MongoDB", "make this plan again", "let it catch up, or copy, or refuse"]
    if here.is_dirty():
        steps.insert(0, "put the old data back that an earlier resync has set aside")
    warnings.append("MongoDB by itself moves writes that the set lacks into its directory `rollback`")
    summary = "MongoDB is down: it would be started, and the resync then inspects its data and decides"
    return plan.unknown(summary, steps=steps, warnings=warnings)
