"""Decide how one member gets in sync with its set; used by the plan and by the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import agreed
from agent.datastores.mongodb import (
    address,
    copy as mongodb_copy,
    files,
    membership,
    primary as mongodb_primary,
    unreplicated,
)
from agent.datastores.mongodb.copy import Copy
from agent.datastores.mongodb.member import MemberState, look
from agent.datastores.mongodb.primary import Primary
from agent.datastores.mongodb.unreplicated import Loss
from agent.datastores.refusal import PlanRefused
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Discard, Needs, Plan, Would

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB
    from agent.supervisors.base import Supervisor

FOLLOWING = ("SECONDARY", "RECOVERING")


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan, and the values that the action needs.

    `me` is the address of this member in the set. `join`: the primary must add it to the set first.
    """

    plan: Plan
    method: str = "none"
    primary: Primary | None = None
    me: str = ""
    join: bool = False
    copy: Copy | None = None


def decide(here: MongoDB, service: Supervisor | None, request: ResyncRequest) -> Decision:
    """Inspect both servers and decide, for a running server. Only reads. Raises `DatastoreError`."""
    try:
        check_request(request)
        state = look(here)
        _check_membership(state)
        if state.membership == "removed":
            return _of_removed(here, service, state, request)
        return _of_member(here, service, state, request)
    except PlanRefused as unfit:
        return Decision(unfit.plan)


def accepted(decision: Decision) -> Decision:
    """The decision. Raises `DatastoreRefused` with the reason if it is a refusal."""
    agreed(decision.plan)
    return decision


def check_request(request: ResyncRequest) -> None:
    """Raises `PlanRefused` for a mode that MongoDB does not support."""
    if request.mode == "rewind":
        raise PlanRefused("MongoDB rewinds a member by itself when it has to", "use the mode auto, follow or copy")


def _check_membership(state: MemberState) -> None:
    if state.membership == "alone":
        raise PlanRefused(
            "this server is a member of no replica set", "start it with replication.replSetName and add it to a set"
        )
    if state.membership == "new":
        raise PlanRefused(
            "this server has no configuration of a replica set yet", "add it to its set on the primary with rs.add()"
        )
    if state.state == "PRIMARY":
        reason = f"this server is the primary of the set {state.set_name}"
        raise PlanRefused(reason, "hand over first, with replication.demote; force does not lift this")
    if state.state == "ARBITER":
        raise PlanRefused("this server is an arbiter and has no data", "resync a member with data")


def _of_member(here: MongoDB, service: Supervisor | None, state: MemberState, request: ResyncRequest) -> Decision:
    primary = mongodb_primary.find(here, state, request)
    if primary.foreign:
        raise PlanRefused(
            f"this server is a member of the set {state.set_name}, and {primary.address} leads another set",
            "remove this server from its set first, with disable_replication_slave_db",
        )
    facts = _facts(state, primary)
    me = str(state.me)
    if state.state == "STARTUP2":
        return _awaited(primary, me, "copy", "is already running its initial sync", facts)
    if state.state == "ROLLBACK":
        return _awaited(primary, me, "rewind", "is already rewinding its data", facts)
    if request.mode != "copy" and state.state in FOLLOWING and _receives(state, primary):
        return _in_step(here, state, primary, facts)
    loss = unreplicated.of_writes(here, state, primary.server, primary.state)
    if request.mode != "copy" and not loss.stale:
        return _without_copy(loss, primary, me, request, facts)
    return _copied(here, service, state, primary, me, loss, request, facts)


def _of_removed(here: MongoDB, service: Supervisor | None, state: MemberState, request: ResyncRequest) -> Decision:
    """The decision for a removed member. If the oplog suffices, it catches up after the primary has added it."""
    primary = mongodb_primary.find(here, state, request)
    facts = _facts(state, primary)
    if primary.foreign:
        listed = mongodb_primary.own_address(here, primary)
        lost = f"the data of another set replaces the data of this server, of the set {state.set_name}"
        loss = Loss(lost, (_everything(here),))
        return _copied(here, service, state, primary, listed, loss, request, facts)
    me = membership.kept_address(here.data_directory()) or address.own_address(here, primary.state.config)
    if me is None:
        raise PlanRefused(
            "the previous address of this server in its set is unknown",
            f"add it on the primary {primary.address} with rs.add(), and run this action again",
        )
    join = primary.state.seen(me) is None
    loss = unreplicated.of_writes(here, state, primary.server, primary.state)
    if request.mode != "copy" and not loss.stale:
        return _without_copy(loss, primary, me, request, facts, join=join)
    return _copied(here, service, state, primary, me, loss, request, facts, join=join)


def of_silent(here: MongoDB, service: Supervisor | None, request: ResyncRequest) -> Decision:
    """The decision for a server that does not start and cannot be queried. Raises `DatastoreError`."""
    try:
        primary = mongodb_primary.find(here, None, request)
        me = mongodb_primary.own_address(here, primary)
        lost = "MongoDB does not start, so its data cannot be inspected"
        loss = Loss(lost, (_everything(here),))
        return _copied(here, service, None, primary, me, loss, request, {"primary": primary.address})
    except PlanRefused as unfit:
        return Decision(unfit.plan)


def _receives(state: MemberState, primary: Primary) -> bool:
    """Whether the member receives, or has all writes of the primary; a delay or pause counts as in sync."""
    return state.source is not None or (state.optime is not None and state.optime == primary.state.optime)


def _in_step(here: MongoDB, state: MemberState, primary: Primary, facts: dict[str, Any]) -> Decision:
    unchanged = plan.nothing(
        f"this server follows its set {state.set_name} and is in step",
        facts=facts | {"method": "none"},
        warnings=_warnings(state),
    )
    directory = here.data_directory()
    if directory is None or not files.has_leftovers(directory):
        return Decision(unchanged, "none", primary, str(state.me))
    steps = [f"delete the old data of an earlier resync in {directory}"]
    left = "this server is in step; the old data of an earlier resync would be deleted"
    return Decision(Plan(Would.CHANGE, left, steps=steps, facts=unchanged.facts), "none", primary, str(state.me))


def _awaited(primary: Primary, me: str, method: str, does: str, facts: dict[str, Any]) -> Decision:
    summary = f"this server {does}; the resync would wait for it"
    return Decision(
        Plan(Would.CHANGE, summary, steps=["wait until it is a secondary"], facts=facts | {"method": method}),
        method,
        primary,
        me,
    )


def _without_copy(
    loss: Loss, primary: Primary, me: str, request: ResyncRequest, facts: dict[str, Any], *, join: bool = False
) -> Decision:
    """The plan without a copy: MongoDB catches up from the oplog by itself, after a rewind of diverged writes."""
    steps = [f"let the primary {primary.address} add this server to the set"] if join else []
    if loss.lost is None:
        summary = f"this server would catch up from the oplog of its set; the primary is {primary.address}"
        steps.append("wait until it receives")
        done = Plan(Would.CHANGE, summary, steps=steps, facts=facts | {"method": "follow"})
        return Decision(done, "follow", primary, me, join)
    facts = facts | {"parted_at": str(loss.parted_at)}
    if not request.force:
        raise PlanRefused(
            loss.lost, "force discards these writes: MongoDB sets them aside in its directory `rollback`", **facts
        )
    rewound = Plan(
        Would.DESTROY,
        f"MongoDB would rewind this server to {loss.parted_at}: {loss.lost}",
        steps=[*steps, "wait until it has rewound and receives"],
        discards=loss.discards,
        warnings=["MongoDB sets the documents aside in its directory `rollback`"],
        facts=facts | {"method": "rewind"},
    )
    return Decision(rewound, "rewind", primary, me, join)


def _copied(
    here: MongoDB,
    service: Supervisor | None,
    state: MemberState | None,
    primary: Primary,
    me: str,
    loss: Loss,
    request: ResyncRequest,
    facts: dict[str, Any],
    *,
    join: bool = False,
) -> Decision:
    why = _why(loss, request)
    if request.mode == "follow":
        raise PlanRefused(f"only a copy is possible: {why}", "use resync_slave_db with the mode auto or copy")
    local = Loss(None) if state is None else unreplicated.of_local(here)
    lost = "; ".join(filter(None, (loss.lost, local.lost)))
    if lost and not (request.force or (primary.foreign and request.adopt)):
        raise PlanRefused(lost, "force discards this", **facts)
    copy = mongodb_copy.prepare(here, service, state, primary, me, force=request.force)
    keeping = f"move the data in {copy.directory} aside" if copy.keep_old else f"delete the data in {copy.directory}"
    warnings = [] if copy.keep_old else ["the deleted data cannot be restored"]
    steps = ["stop MongoDB", keeping, "start MongoDB, which makes its initial sync", "wait until it follows"]
    if join:
        steps.insert(3, f"let the primary {primary.address} add this server to the set")
    destroying = Plan(
        Would.DESTROY,
        f"the data of this server would be replaced by a copy from its set, led by {primary.address}: {why}",
        steps=[*steps, "delete the old data"],
        discards=[*loss.discards, *local.discards],
        needs=Needs(disk_bytes=copy.bytes),
        warnings=warnings,
        facts=facts | mongodb_copy.facts(copy) | {"method": "copy"},
    )
    return Decision(destroying, "copy", primary, me, join, copy)


def _why(loss: Loss, request: ResyncRequest) -> str:
    if loss.lost is not None:
        return loss.lost
    if loss.stale:
        return "no member has the oplog that this server needs to catch up"
    assert request.mode == "copy"
    return "mode copy was requested"


def _everything(here: MongoDB) -> Discard:
    directory = here.data_directory()
    amount = None if directory is None else files.size(*files.data_of(directory))
    return Discard("the data of this server", amount, "bytes")


def _warnings(state: MemberState) -> list[str]:
    found = []
    itself = state.itself
    if itself is not None and itself.delay:
        found.append(f"this member is delayed by {itself.delay} s, as configured")
    if state.state == "RECOVERING":
        found.append("this member is in the state RECOVERING, as by replSetMaintenance: it serves no reads")
    if state.source is None:
        found.append("this member has all writes of the primary, and no sync source now")
    return found


def _facts(state: MemberState, primary: Primary) -> dict[str, Any]:
    return {
        "primary": primary.address,
        "set": state.set_name,
        "set_id": state.set_id,
        "primary_set_id": primary.state.set_id,
        "state": state.state or state.membership,
        "position": None if state.optime is None else str(state.optime),
        "primary_position": None if primary.state.optime is None else str(primary.state.optime),
    }
