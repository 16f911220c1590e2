"""Decide how one Redis can follow another; used by the plan and by the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreRefused
from agent.datastores.redis import capacity, config, peers, source as redis_source
from agent.datastores.redis.capacity import Capacity
from agent.datastores.redis.history import SharedHistory, bytes_ahead, can_continue, kinship
from agent.datastores.redis.source import Options, Source
from agent.datastores.redis.state import RedisState, look
from agent.datastores.refusal import PlanRefused
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Discard, Needs, Plan, Would

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis


@dataclass(frozen=True, slots=True)
class Decision:
    """The plan, and the values that the action needs.

    `keep_old`: the old data stays in memory until the copy is complete. `forget`: Redis must forget its position, or
    it would continue from there instead of taking a copy.
    """

    plan: Plan
    source: Source | None = None
    method: str = "none"
    keep_old: bool = True
    forget: bool = False


@dataclass(frozen=True, slots=True)
class ResyncFacts:
    """The present state of both servers, and the request."""

    here: RedisState
    there: RedisState
    own: Options
    source: Source
    request: ResyncRequest
    kin: SharedHistory

    @property
    def consents(self) -> bool:
        """Whether the caller permits to discard this server's data: by `force`, or by `adopt` with the other id."""
        return self.request.force or self.request.adopt is not None

    def facts(self, method: str) -> dict[str, Any]:
        """The facts of the decision."""
        return {
            "method": method,
            "primary": self.source.address,
            "cluster_id": self.there.replid,
            "kinship": self.kin.value,
            "bytes_ahead": bytes_ahead(self.here, self.there),
            "here": _identity(self.here),
            "there": _identity(self.there),
        }


def decide(datastore: Redis, request: ResyncRequest) -> Decision:
    """Inspect both servers and decide. Only reads. Raises `DatastoreError` if one cannot be queried."""
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
        directory = config.get(client, "dir").get("dir")
    source = datastore.source(request.primary, here, own)
    try:
        _check_request(request, here)
        view = _view(datastore, here, own, source, request)
        return _decided(view, directory)
    except PlanRefused as unfit:
        return Decision(plan.refuse(unfit.reason, unfit.lifted_by, facts={"primary": source.address}))


def _view(datastore: Redis, here: RedisState, own: Options, source: Source, request: ResyncRequest) -> ResyncFacts:
    there = source.look()
    kin = kinship(here, there)
    if kin is not SharedHistory.SHARED:
        kin = kinship(here, there, peers.states(datastore, own, but=source.address).values())
    return ResyncFacts(here, there, own, source, request, kin)


def _check_request(request: ResyncRequest, here: RedisState) -> None:
    if request.mode == "rewind":
        raise PlanRefused("Redis has no way to rewind its data", "use the mode auto, follow or copy")
    if here.clustered:
        raise PlanRefused("this server is part of a Redis Cluster", "use CLUSTER REPLICATE there")


def _decided(view: ResyncFacts, directory: str | None) -> Decision:
    here, source = view.here, view.source
    _check_can_lead(view)
    if here.in_step and here.source == source.address and view.request.mode != "copy":
        summary = f"this server follows {source.address} already and is in step"
        return Decision(plan.nothing(summary, facts=view.facts("none"), warnings=_warnings(view)), source)
    _check_identity(view)
    _check_tls(view)
    source.check_it_may_be_followed()
    if here.copying and here.source == source.address:
        return Decision(_awaiting(view), source, "copy")
    if can_continue(here, view.there) and view.request.mode != "copy":
        return Decision(_following(view), source, "follow")
    if view.request.mode == "follow":
        raise PlanRefused(
            f"only a full copy would do: {_why_copy(view)}", "use resync_slave_db with the mode auto or copy"
        )
    room = capacity.measure(view.there, directory)
    _check_losses(view)
    _check_room(view, room)
    forget = can_continue(here, view.there)
    return Decision(_copying(view, room), source, "copy", keep_old=room.for_both, forget=forget)


def _check_can_lead(view: ResyncFacts) -> None:
    """Raises `PlanRefused` for a server that cannot be a source."""
    here, there, address = view.here, view.there, view.source.address
    name_another = "name another server as the primary"
    if here.run_id == there.run_id:
        raise PlanRefused(f"{address} is this server itself", name_another)
    if there.clustered:
        raise PlanRefused(f"{address} is part of a Redis Cluster", name_another)
    if there.loading:
        raise PlanRefused(f"{address} is loading its data", "wait until it has loaded, then run this action again")
    if not there.is_replica:
        return
    if not here.is_replica and here.replid == there.replid:
        raise PlanRefused(
            f"{address} follows this server", "promote it first, or use replication.demote on this server"
        )
    if not there.link_up:
        raise PlanRefused(f"{address} is a replica that has lost its own primary", "promote it first")


def _check_identity(view: ResyncFacts) -> None:
    """Raises `PlanRefused` for the data of a foreign group, unless `adopt` is its identifier."""
    identifier, adopt = view.there.replid, view.request.adopt
    if adopt is not None and adopt != identifier:
        raise PlanRefused(
            f"adopt names {adopt}, and {view.source.address} has the replication id {identifier}", "check both"
        )
    follows_it = view.here.source == view.source.address
    if view.kin is SharedHistory.FOREIGN and adopt is None and not follows_it and not view.here.empty:
        reason = (
            f"{view.source.address} has never shared its data with this server, as far as both remember: its "
            f"replication id is {identifier}, this server's is {view.here.replid}"
        )
        raise PlanRefused(
            reason, f'check the address; adopt: "{identifier}" replaces the data of this server by the other'
        )


def _check_tls(view: ResyncFacts) -> None:
    own, address = view.own, view.source.address
    if not view.source.tls:
        if own.get("tls-replication") == "yes":
            raise PlanRefused(
                f"this server replicates over TLS, and {address} is configured without",
                "give the url of its TLS port (rediss://)",
            )
        return
    if "tls-replication" not in own:
        raise PlanRefused(
            f"{address} speaks TLS, and this Redis was built without it", "give the url of a port without TLS"
        )
    if not own.get("tls-ca-cert-file") and not own.get("tls-ca-cert-dir"):
        raise PlanRefused(
            f"{address} speaks TLS, and this Redis has no authority to check it by",
            "set tls-ca-cert-file and the other options of TLS in the configuration of Redis",
        )


def _check_losses(view: ResyncFacts) -> None:
    if (lost := _what_is_lost(view)) and not view.consents:
        raise PlanRefused(lost, "force discards the data of this server")


def _what_is_lost(view: ResyncFacts) -> str | None:
    """A sentence about the data of this server that the source lacks; None without such data."""
    here, there, address = view.here, view.there, view.source.address
    if here.empty:
        return None
    if there.empty:
        return f"{address} is empty, and this server has {here.keys} keys"
    ahead = bytes_ahead(here, there)
    if ahead is None:
        return f"whether {address} has all {here.keys} keys of this server cannot be known: {_why_unknown(view)}"
    return f"this server has {ahead} bytes of writes that {address} lacks" if ahead else None


def _why_unknown(view: ResyncFacts) -> str:
    if view.here.is_replica and not view.here.read_only:
        return "this replica accepts writes of its own (replica-read-only is no)"
    return f"their replication ids have nothing in common ({view.here.replid} here, {view.there.replid} there)"


def _check_room(view: ResyncFacts, room: Capacity) -> None:
    """Raises `PlanRefused` for a copy that cannot be undone, unless the old data is worthless or discarded."""
    disk_is_used = view.here.aof or not room.for_both
    if disk_is_used and room.disk_free is not None and room.disk_free < room.disk_needed and not view.request.force:
        raise PlanRefused(
            f"the copy needs up to {room.disk_needed} bytes on disk, and {room.disk_free} are free",
            "free the space; force tries anyway",
        )
    if not room.for_both and not view.here.empty and not view.request.force:
        raise PlanRefused(
            f"the memory does not hold the copy beside the old data: {room.memory_needed} bytes are needed, "
            f"{room.memory_free} are free",
            "free the memory; force drops the old data before the copy is loaded; it cannot be restored",
        )


def _following(view: ResyncFacts) -> Plan:
    missing = max(0, view.there.offset - view.here.offset)
    address = view.source.address
    return Plan(
        Would.CHANGE,
        f"this server would follow {address} and continue where it is: {missing} bytes are missing",
        steps=[*_configuring(view), f"REPLICAOF {address}", "write this to the configuration file"],
        warnings=_warnings(view),
        facts=view.facts("follow"),
    )


def _awaiting(view: ResyncFacts) -> Plan:
    address = view.source.address
    return Plan(
        Would.CHANGE,
        f"Redis is already taking a full copy of {address}; the resync would wait for it",
        steps=[*_configuring(view), "wait until the copy is loaded", "write this to the configuration file"],
        warnings=_warnings(view),
        facts=view.facts("copy"),
    )


def _copying(view: ResyncFacts, room: Capacity) -> Plan:
    address = view.source.address
    keeps = (
        "keep the old data in memory until the copy is complete" if room.for_both else "drop the old data, then load"
    )
    warnings = _warnings(view)
    if not room.for_both:
        warnings.append("once the copy is received, the old data cannot be restored")
    return Plan(
        Would.DESTROY,
        f"the data of this server would be replaced by a full copy of {address}: {_why_copy(view)}",
        steps=[*_configuring(view), f"REPLICAOF {address}", keeps, "write this to the configuration file"],
        discards=_discards(view),
        needs=Needs(disk_bytes=room.disk_needed if view.here.aof or not room.for_both else 0),
        warnings=warnings,
        facts=view.facts("copy"),
    )


def _discards(view: ResyncFacts) -> list[Discard]:
    if _what_is_lost(view) is None:
        return []
    ahead = bytes_ahead(view.here, view.there)
    if ahead and not view.there.empty:
        return [Discard(f"writes of this server that {view.source.address} lacks", ahead, "bytes")]
    return [
        Discard("keys of this server", view.here.keys, "keys"),
        Discard("data of this server in memory", view.here.dataset_bytes, "bytes"),
    ]


def _why_copy(view: ResyncFacts) -> str:
    if view.request.mode == "copy" and can_continue(view.here, view.there):
        return "mode copy was requested"
    if (lost := _what_is_lost(view)) is not None:
        return lost
    if view.here.replid in view.there.history:
        return f"{view.source.address} no longer has the writes that this server needs to continue"
    return "this server has nothing to continue from"


def _configuring(view: ResyncFacts) -> list[str]:
    """The step for the options that Redis needs first; passwords are always set and never shown."""
    wanted = view.source.options()
    changed = [name for name, value in wanted.items() if view.own.get(name, "") != value]
    return [f"set {' and '.join(changed)}"] if changed else []


def _warnings(view: ResyncFacts) -> list[str]:
    here, there, found = view.here, view.there, []
    if here.is_replica and not here.read_only:
        found.append("replica-read-only is no: this server may have keys that its primary lacks")
    if here.memory_limit and there.memory_bytes > here.memory_limit:
        found.append(
            f"the primary uses {there.memory_bytes} bytes, and maxmemory of this server is {here.memory_limit}"
        )
    if online := [each.address for each in here.replicas if each.online]:
        found.append(f"the replicas of this server keep following it: {', '.join(online)}")
    return found


def _identity(state: RedisState) -> dict[str, Any]:
    return {"replid": state.replid, "history": dict(state.history), "offset": state.offset, "keys": state.keys}


def accepted(decision: Decision) -> Decision:
    """The decision. Raises `DatastoreRefused` with the reason if it is a refusal."""
    if (refusal := decision.plan.refusal) is not None:
        raise DatastoreRefused(f"{refusal.reason}; {refusal.lifted_by}")
    return decision
