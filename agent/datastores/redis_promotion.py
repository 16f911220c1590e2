"""The promotion of one Redis: what the old primary does, how much is lost, and whether writes get through then."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores import redis_config, redis_probe, redis_source
from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.redis_source import Options, Source
from agent.datastores.redis_state import State, look
from agent.datastores.requests import Lag, PromoteRequest, too_late
from agent.plan import Discard, Plan, Would, discards_as_json
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.redis import Redis

ASK_FOR = 1.0
"""Seconds that another server has for its answer to a plan; a dead host gives none."""
ASK_BEFORE_ACTING = 5.0
"""The same before a promotion: a primary that is slow to answer must not be taken for a dead one."""
LOOK_EVERY = 0.05


@dataclass(frozen=True, slots=True)
class OldPrimary:
    """`part` is `unreachable`, `read_only` or `writable`; `unknown` where it answers and does not tell."""

    address: str
    part: str
    state: State | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """This replica and its old primary as they are now."""

    here: State
    old: OldPrimary
    lag: Lag
    min_replicas: int
    probe_refused: str | None


def plan_promote(datastore: Redis, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    with datastore.client() as client:
        here = look(client)
        if here.clustered:
            return plan.refuse("this server is part of a Redis Cluster", "use CLUSTER FAILOVER on this server")
        if not here.is_replica:
            return _already_primary(client)
        if here.copying:
            reason = f"Redis at {datastore.address} is still copying its primary: its data is not whole"
            return plan.refuse(reason, "wait for the copy, or resync from another primary")
    return _judge(_view(datastore), request)


def promote(datastore: Redis, stop: Stop, request: PromoteRequest) -> dict[str, Any]:
    """Follow no source any more, and prove that a write gets through."""
    _check(plan_promote(datastore, request))
    with datastore.client() as client:
        if not look(client).is_replica:
            return _end(datastore, redis_config.keep_or_note(client), Lag())
    _catch_up(datastore, stop, request.wait)
    view = _view(datastore, ASK_BEFORE_ACTING)
    decision = _check(_judge(view, PromoteRequest(max_lag=request.max_lag, force=request.force)))
    with datastore.client() as client:
        followed = follow_no_source(client)
    old = {"old_primary": view.old.part, "old_primary_address": view.old.address}
    discarded = {"discarded": discards_as_json(decision.discards)}
    return _end(datastore, followed | old | discarded, view.lag)


def _check(decision: Plan) -> Plan:
    if decision.refusal is not None:
        raise DatastoreRefused(f"{decision.refusal.reason}; {decision.refusal.lifted_by}")
    return decision


def follow_no_source(client: Any) -> dict[str, Any]:
    """Become writable with the data that is there, also after a restart."""
    before = look(client)
    client.replicaof("NO", "ONE")
    return {"followed": before.source, "was_in_sync": before.in_step} | redis_config.keep_or_note(client)


def _already_primary(client: Any) -> Plan:
    """A failover that another server began makes a primary whose file still says that it follows."""
    if redis_config.file_says_replica(client):
        summary = "this server is a primary already; its configuration file would say so too"
        return Plan(Would.CHANGE, summary, steps=["keep this in the configuration file"])
    return plan.nothing("this server is a primary already")


def _view(datastore: Redis, ask_for: float = ASK_FOR) -> View:
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
        wanted = redis_config.get(client, "min-replicas-to-write").get("min-replicas-to-write") or 0
        refused = redis_probe.may_probe(client) if here.read_only else None
    if not here.is_replica:
        raise DatastoreRefused(f"Redis at {datastore.address} follows no source any more")
    old = _ask(source_of(datastore, here, own, ask_for))
    return View(here, old, _lag(here, old), int(wanted), refused)


def source_of(datastore: Redis, here: State, own: Options, timeout: float) -> Source:
    """The source of this replica, by the login of the peer or the `datastore.primary` of its address, else its own."""
    named = list(datastore.settings.peers.values())
    if (primary := datastore.peer(None)) is not None:
        named.append(primary)
    timeout = min(timeout, datastore.settings.timeout)
    for peer in named:
        source = redis_source.of_peer(peer, own, timeout)
        if source.address == here.source:
            return source
    source_now = redis_source.followed(here, own, timeout)
    assert source_now is not None  # of a replica
    return source_now


def _ask(source: Source) -> OldPrimary:
    try:
        state = source.look()
    except (DatastoreDown, DatastoreUnreachable) as error:
        return OldPrimary(source.address, "unreachable", error=str(error))
    except DatastoreError as error:
        return OldPrimary(source.address, "unknown", error=str(error))
    return OldPrimary(source.address, "read_only" if state.read_only else "writable", state)


def _lag(here: State, old: OldPrimary) -> Lag:
    """Bytes of writes that the old primary has and this server lacks; seconds since its last message."""
    behind = None
    if old.state is not None and here.replid in old.state.history:
        behind = max(0, old.state.offset - here.offset)
    return Lag(bytes=behind, seconds=here.silent_seconds)


def _judge(view: View, request: PromoteRequest) -> Plan:
    """Promote or refuse; `request.wait` makes a lag tolerable that is too large now."""
    facts = {"old_primary": view.old.part, "old_primary_address": view.old.address, "lag": asdict(view.lag)}
    if (refusal := _refusal(view, request)) is not None and not request.force:
        return plan.refuse(*refusal, facts=facts)
    steps = ["REPLICAOF NO ONE", "keep this in the configuration file", "write a probe that leaves nothing"]
    if request.wait:
        steps.insert(0, f"wait up to {request.wait:g} s for what the primary still sends")
    return Plan(
        Would.CHANGE,
        f"this server would become a writable primary and no longer follow {view.old.address}",
        steps=steps,
        discards=_discards(view),
        warnings=_warnings(view),
        facts=facts,
    )


def _refusal(view: View, request: PromoteRequest) -> tuple[str, str] | None:
    """Why `force` is needed, and what else would do."""
    old, address = view.old.part, view.old.address
    if old == "writable":
        return f"the old primary {address} still takes writes", (
            "stop it or use replication.demote there; force makes two primaries"
        )
    if old == "unknown":
        return f"the old primary {address} answers and does not say whether it takes writes: {view.old.error}", (
            "give the agent its login in [datastore.peers]; force promotes all the same"
        )
    if view.here.priority == 0:
        return "replica-priority is 0: this server is not meant to become a primary", (
            "promote another replica; force promotes it all the same"
        )
    if request.wait == 0 and (late := too_late(view.lag, request.max_lag)) is not None:
        return late, "wait longer or allow a larger max_lag; force promotes all the same"
    return None


def _discards(view: View) -> list[Discard]:
    if not view.lag.bytes:
        return []
    return [Discard(f"writes that only the old primary {view.old.address} has", view.lag.bytes, "bytes")]


def _warnings(view: View) -> list[str]:
    found = []
    if view.old.part == "writable":
        found.append(f"{view.old.address} still takes writes: there will be two primaries")
    if view.here.priority == 0:
        found.append("replica-priority is 0")
    if view.lag.bytes is None:
        found.append("how much the old primary has that this server lacks is not known")
    online = sum(each.online for each in view.here.replicas)
    if view.min_replicas > online:
        found.append(f"min-replicas-to-write is {view.min_replicas}, and {online} replicas are connected: no writes")
    if view.probe_refused is not None:
        found.append(f"the agent may not write the probe: {view.probe_refused}")
    return found


def _catch_up(datastore: Redis, stop: Stop, seconds: float) -> None:
    """Wait while the old primary still sends and has more than this server."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not stop.requested:
        view = _view(datastore)
        if not view.here.link_up or view.lag.bytes == 0:
            return
        stop.wait(LOOK_EVERY)


def _end(datastore: Redis, told: dict[str, Any], lag: Lag) -> dict[str, Any]:
    held = redis_probe.held_by(datastore)
    result = told | {"held_by": held, "lag": asdict(lag)}
    return result if held is None else result | {"writable": False}
