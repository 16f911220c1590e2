"""The status of one mongod, with the reasons of unavailable facts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.mongodb import probe, promotion
from agent.datastores.mongodb.member import MemberState, Seen, look
from agent.datastores.mongodb.replication import role_of
from agent.datastores.replication_requests import Lag
from agent.datastores.status import DatastoreStatus

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

STREAMING = ("SECONDARY", "RECOVERING")


def status(here: MongoDB) -> DatastoreStatus:
    """The facts; never raises `DatastoreError`. A secondary's lag is read from its primary within two seconds."""
    try:
        hello = here.hello()
    except DatastoreError as error:
        return DatastoreStatus(reachable=False, error=str(error))
    unknown = dict(here.absent_facts)
    state = _state(here, unknown)
    role = role_of(hello, state)
    lag = Lag() if state is None or role.name != "replica" else _lag(here, state, unknown)
    return DatastoreStatus(
        reachable=True,
        version=_version(here, unknown),
        cluster_id=None if state is None else state.set_id,
        role=role.name,
        writable=role.writable,
        streaming=None if state is None or role.name != "replica" else role.streaming,
        source=None if role.name != "replica" else _source(state, role.primary),
        lag=lag,
        position=None if state is None or state.optime is None else str(state.optime),
        timeline=None if state is None else state.term,
        replicas=[] if state is None or state.state != "PRIMARY" else [_replica(state, each) for each in state.others],
        synchronous=None if state is None or state.membership != "member" else _synchronous(here, state),
        dirty=here.is_dirty(),
        unknown=unknown,
    )


def _state(here: MongoDB, unknown: dict[str, str]) -> MemberState | None:
    try:
        state = look(here)
    except DatastoreError as error:
        unknown.update(
            dict.fromkeys(("cluster_id", "streaming", "position", "timeline", "lag", "synchronous"), str(error))
        )
        return None
    if state.membership != "member":
        why = "this server is in no replica set"
        unknown.update(dict.fromkeys(("position", "timeline", "synchronous"), why))
        if state.set_id is None:
            unknown["cluster_id"] = why
    elif state.set_id is None:
        unknown["cluster_id"] = "the configuration of the set has no replicaSetId"
    return state


def _version(here: MongoDB, unknown: dict[str, str]) -> str | None:
    try:
        return str(here.command("buildInfo")["version"])
    except (DatastoreError, KeyError) as error:
        unknown["version"] = str(error)
        return None


def _lag(here: MongoDB, state: MemberState, unknown: dict[str, str]) -> Lag:
    """The lag; `transactions` are oplog entries. Without a primary the lag is unknown."""
    if state.primary is None:
        unknown["lag"] = "the set has no primary now"
        return Lag()
    try:
        return promotion.lag(here, state, look(here.member(state.primary)))
    except DatastoreError as error:
        unknown["lag"] = str(error)
        return Lag()


def _source(state: MemberState | None, primary: str | None) -> dict[str, Any]:
    """The source: `address` is the member that this one copies from, which may be a secondary."""
    found: dict[str, Any] = {"address": primary, "state": "stopped", "last_message_age": None, "error": None}
    if state is None:
        return found
    receives = state.source is not None and state.state in STREAMING
    found |= {"address": state.source or primary, "state": "streaming" if receives else "connecting"}
    own: dict[str, Any] = next((each for each in state.status.get("members", ()) if each.get("self")), {})
    found["error"] = own.get("infoMessage") or None
    source: dict[str, Any] = next(
        (each for each in state.status.get("members", ()) if each["name"] == state.source), {}
    )
    if state.date is not None and source.get("lastHeartbeatRecv") is not None:
        found["last_message_age"] = max(0.0, (state.date - source["lastHeartbeatRecv"]).total_seconds())
    return found | {"member_state": state.state}


def _replica(state: MemberState, member: Seen) -> dict[str, Any]:
    behind = None
    if state.optime is not None and member.optime is not None:
        behind = max(0, state.optime.seconds - member.optime.seconds)
    return {
        "name": None,
        "address": member.address,
        "state": member.state,
        "lag_bytes": None,
        "lag_seconds": behind,
        "priority": member.priority,
        "votes": member.votes,
    }


def _synchronous(here: MongoDB, state: MemberState) -> dict[str, Any]:
    """Whether enough members with data are reachable for the default write concern."""
    required = probe.write_concern(here)
    holders = [each for each in state.members if each.has_data]
    standbys = [each.address for each in holders if each.state == "SECONDARY"]
    satisfied: bool | None = None
    if required == "majority":
        satisfied = sum(each.votes for each in holders) >= _write_majority(state)
    elif isinstance(required, int):
        satisfied = len(holders) >= required
    return {"required": required, "satisfied": satisfied, "standbys": standbys}


def _write_majority(state: MemberState) -> int:
    """The majority for writes as reported by mongod; otherwise the majority of the votes."""
    with suppress(KeyError, TypeError, ValueError):
        return int(state.status["writeMajorityCount"])
    return state.majority
