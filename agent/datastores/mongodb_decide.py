"""What it takes to bring one member in step with its set: decided once, for the plan and for the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores import mongodb_address, mongodb_copy, mongodb_files, mongodb_primary, mongodb_worth
from agent.datastores.base import agreed
from agent.datastores.mongodb_copy import Copy
from agent.datastores.mongodb_member import State, look
from agent.datastores.mongodb_primary import Primary
from agent.datastores.mongodb_refusal import Unfit
from agent.datastores.mongodb_worth import Worth
from agent.datastores.requests import ResyncRequest
from agent.plan import Discard, Needs, Plan, Would

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB
    from agent.supervisors.base import Supervisor

FOLLOWING = ("SECONDARY", "RECOVERING")


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan, and what the action needs to carry it out.

    `me` is the address of this member in the set, `join` whether the primary must add it to the set first.
    """

    plan: Plan
    method: str = "none"
    primary: Primary | None = None
    me: str = ""
    join: bool = False
    copy: Copy | None = None


def decide(here: MongoDB, service: Supervisor | None, request: ResyncRequest) -> Decision:
    """Look at both and decide, for a server that is up. Changes nothing. Raises `DatastoreError`."""
    try:
        check_request(request)
        state = look(here)
        _check_part(state)
        if state.part == "removed":
            return _of_removed(here, service, state, request)
        return _of_member(here, service, state, request)
    except Unfit as unfit:
        return Decision(unfit.plan)


def accepted(decision: Decision) -> Decision:
    """The decision, unless it is a refusal. Raises `DatastoreRefused` with its words then."""
    agreed(decision.plan)
    return decision


def check_request(request: ResyncRequest) -> None:
    """Raises `Unfit` for a way that MongoDB does not have."""
    if request.mode == "rewind":
        raise Unfit("MongoDB rewinds a member by itself when it has to", "use the mode auto, follow or copy")


def _check_part(state: State) -> None:
    if state.part == "alone":
        raise Unfit(
            "this server is a member of no replica set", "start it with replication.replSetName and add it to a set"
        )
    if state.part == "new":
        raise Unfit(
            "this server has no configuration of a replica set yet", "add it to its set on the primary, by rs.add()"
        )
    if state.state == "PRIMARY":
        reason = f"this server is the primary of the set {state.set_name}"
        raise Unfit(reason, "hand over first, with replication.demote; force does not lift this")
    if state.state == "ARBITER":
        raise Unfit("this server is an arbiter and has no data", "resync a member with data")


def _of_member(here: MongoDB, service: Supervisor | None, state: State, request: ResyncRequest) -> Decision:
    primary = mongodb_primary.find(here, state, request)
    if primary.foreign:
        raise Unfit(
            f"this server is a member of the set {state.set_name}, and {primary.address} leads another set",
            "remove this server from its set first, with disable_replication_slave_db",
        )
    facts = _facts(state, primary)
    me = str(state.me)
    if state.state == "STARTUP2":
        return _awaited(primary, me, "copy", "makes its initial sync already", facts)
    if state.state == "ROLLBACK":
        return _awaited(primary, me, "rewind", "rewinds its data already", facts)
    if request.mode != "copy" and state.state in FOLLOWING and _receives(state, primary):
        return _in_step(here, state, primary, facts)
    worth = mongodb_worth.of_writes(here, state, primary.server, primary.state)
    if request.mode != "copy" and not worth.stale:
        return _gentle(worth, primary, me, request, facts)
    return _copied(here, service, state, primary, me, worth, request, facts)


def _of_removed(here: MongoDB, service: Supervisor | None, state: State, request: ResyncRequest) -> Decision:
    """A member that was removed follows again when the primary adds it, if the oplog still reaches back to it."""
    primary = mongodb_primary.find(here, state, request)
    facts = _facts(state, primary)
    if primary.foreign:
        listed = mongodb_primary.listed(here, primary)
        lost = f"the data of this server, of the set {state.set_name}, is replaced by that of another set"
        worth = Worth(lost, (_everything(here),))
        return _copied(here, service, state, primary, listed, worth, request, facts)
    me = here.address_in_set() or mongodb_address.own_address(here, primary.state.config)
    if me is None:
        raise Unfit(
            "the address that this server had in its set is not known",
            f"add it on the primary {primary.address}, by rs.add(), and run this action again",
        )
    join = primary.state.seen(me) is None
    worth = mongodb_worth.of_writes(here, state, primary.server, primary.state)
    if request.mode != "copy" and not worth.stale:
        return _gentle(worth, primary, me, request, facts, join=join)
    return _copied(here, service, state, primary, me, worth, request, facts, join=join)


def of_silent(here: MongoDB, service: Supervisor | None, request: ResyncRequest) -> Decision:
    """For a server that does not come up: who it is and what it has cannot be asked. Raises `DatastoreError`."""
    try:
        primary = mongodb_primary.find(here, None, request)
        me = mongodb_primary.listed(here, primary)
        lost = "MongoDB does not come up, so that what its data has cannot be known"
        worth = Worth(lost, (_everything(here),))
        return _copied(here, service, None, primary, me, worth, request, {"primary": primary.address})
    except Unfit as unfit:
        return Decision(unfit.plan)


def _receives(state: State, primary: Primary) -> bool:
    """Whether it receives from a member, or has all that the primary has; a delay or a pause does not count."""
    return state.source is not None or (state.optime is not None and state.optime == primary.state.optime)


def _in_step(here: MongoDB, state: State, primary: Primary, facts: dict[str, Any]) -> Decision:
    told = plan.nothing(
        f"this server follows its set {state.set_name} and is in step",
        facts=facts | {"method": "none"},
        warnings=_warnings(state),
    )
    directory = here.data_directory()
    if directory is None or not mongodb_files.has_leftovers(directory):
        return Decision(told, "none", primary, str(state.me))
    steps = [f"delete what an earlier resync left in {directory}"]
    left = "this server is in step; old data that an earlier resync left would be deleted"
    return Decision(Plan(Would.CHANGE, left, steps=steps, facts=told.facts), "none", primary, str(state.me))


def _awaited(primary: Primary, me: str, method: str, does: str, facts: dict[str, Any]) -> Decision:
    summary = f"this server {does}, and would be waited for"
    return Decision(
        Plan(Would.CHANGE, summary, steps=["wait until it is a secondary"], facts=facts | {"method": method}),
        method,
        primary,
        me,
    )


def _gentle(
    worth: Worth, primary: Primary, me: str, request: ResyncRequest, facts: dict[str, Any], *, join: bool = False
) -> Decision:
    """What MongoDB does by itself: catch up from the oplog, after a rewind where the histories have parted."""
    steps = [f"let the primary {primary.address} add this server to the set"] if join else []
    if worth.lost is None:
        summary = f"this server would catch up from the oplog of its set, of which {primary.address} is the primary"
        steps.append("wait until it receives")
        done = Plan(Would.CHANGE, summary, steps=steps, facts=facts | {"method": "follow"})
        return Decision(done, "follow", primary, me, join)
    facts = facts | {"parted_at": str(worth.parted_at)}
    if not request.force:
        raise Unfit(
            worth.lost, "force gives up these writes: MongoDB sets them aside in its directory `rollback`", **facts
        )
    rewound = Plan(
        Would.DESTROY,
        f"MongoDB would rewind this server to {worth.parted_at}: {worth.lost}",
        steps=[*steps, "wait until it has rewound and receives"],
        discards=worth.discards,
        warnings=["MongoDB sets the documents aside in its directory `rollback`"],
        facts=facts | {"method": "rewind"},
    )
    return Decision(rewound, "rewind", primary, me, join)


def _copied(
    here: MongoDB,
    service: Supervisor | None,
    state: State | None,
    primary: Primary,
    me: str,
    worth: Worth,
    request: ResyncRequest,
    facts: dict[str, Any],
    *,
    join: bool = False,
) -> Decision:
    why = _why(worth, request)
    if request.mode == "follow":
        raise Unfit(f"only a copy would do: {why}", "use resync_slave_db with the mode auto or copy")
    local = Worth(None) if state is None else mongodb_worth.of_local(here)
    lost = "; ".join(filter(None, (worth.lost, local.lost)))
    if lost and not (request.force or (primary.foreign and request.adopt)):
        raise Unfit(lost, "force gives this up", **facts)
    copy = mongodb_copy.prepare(here, service, state, primary, me, force=request.force)
    keeping = f"set the data in {copy.directory} aside" if copy.keep_old else f"delete the data in {copy.directory}"
    warnings = [] if copy.keep_old else ["once the data is deleted there is no way back"]
    steps = ["stop MongoDB", keeping, "start MongoDB, which makes its initial sync", "wait until it follows"]
    if join:
        steps.insert(3, f"let the primary {primary.address} add this server to the set")
    destroying = Plan(
        Would.DESTROY,
        f"the data of this server would be replaced by a copy from its set, led by {primary.address}: {why}",
        steps=[*steps, "delete the old data"],
        discards=[*worth.discards, *local.discards],
        needs=Needs(disk_bytes=copy.bytes),
        warnings=warnings,
        facts=facts | mongodb_copy.facts(copy) | {"method": "copy"},
    )
    return Decision(destroying, "copy", primary, me, join, copy)


def _why(worth: Worth, request: ResyncRequest) -> str:
    if worth.lost is not None:
        return worth.lost
    if worth.stale:
        return "no member has the oplog that this server needs to catch up"
    assert request.mode == "copy"
    return "the mode copy asks for it"


def _everything(here: MongoDB) -> Discard:
    directory = here.data_directory()
    amount = None if directory is None else mongodb_files.size(*mongodb_files.data_of(directory))
    return Discard("the data of this server", amount, "bytes")


def _warnings(state: State) -> list[str]:
    found = []
    itself = state.itself
    if itself is not None and itself.delay:
        found.append(f"this member is delayed by {itself.delay} s, as configured")
    if state.state == "RECOVERING":
        found.append("this member is in the state RECOVERING, such as of replSetMaintenance: it takes no reads")
    if state.source is None:
        found.append("this member has all that the primary has, and no source to receive from now")
    return found


def _facts(state: State, primary: Primary) -> dict[str, Any]:
    return {
        "primary": primary.address,
        "set": state.set_name,
        "set_id": state.set_id,
        "primary_set_id": primary.state.set_id,
        "state": state.state or state.part,
        "position": None if state.optime is None else str(state.optime),
        "primary_position": None if primary.state.optime is None else str(primary.state.optime),
    }
