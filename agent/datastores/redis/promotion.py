"""Promote one Redis: check the old primary and the lag, promote, prove that a write succeeds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreDown, DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.redis import config, peers, probe, source as redis_source
from agent.datastores.redis.peers import Rivals
from agent.datastores.redis.source import Options, Source
from agent.datastores.redis.state import RedisState, look
from agent.datastores.replication_requests import Lag, PromoteRequest, too_late
from agent.plan import Discard, Plan, Would, discards_as_json
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

ANSWERS_WITHIN = 1.0
"""Timeout in seconds of another server's answer for a plan."""
ANSWERS_BEFORE_ACTING = 5.0
"""Timeout in seconds before a promotion: a slow primary must not be mistaken for a dead one."""


@dataclass(frozen=True, slots=True)
class OldPrimary:
    """`access` is `unreachable`, `read_only` or `writable`; `unknown` if it answers without its state."""

    address: str
    access: str
    state: RedisState | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionFacts:
    """The present state of this replica and its old primary."""

    here: RedisState
    old: OldPrimary
    lag: Lag
    min_replicas: int
    probe_refused: str | None
    rivals: Rivals = Rivals()

    @property
    def upstream(self) -> str | None:
        """The server that the source receives from, if the source is a replica."""
        old = self.old.state
        return old.source if old is not None and old.in_step else None

    @property
    def never_received(self) -> bool:
        """Whether this server started empty and has not been connected to its source since."""
        return self.here.empty and self.here.silent_seconds is None


def plan_promote(datastore: Redis, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    with datastore.client() as client:
        here = look(client)
        if here.clustered:
            return plan.refuse("this server is part of a Redis Cluster", "use CLUSTER FAILOVER on this server")
        if not here.is_replica:
            return _already_primary(client)
        if here.copying:
            reason = f"Redis at {datastore.address} is still copying its primary: its data is incomplete"
            return plan.refuse(reason, "wait for the copy, or resync from another primary")
    return _judge(_view(datastore), request)


def promote(datastore: Redis, stop: Stop, request: PromoteRequest) -> dict[str, Any]:
    """Stop following, and prove that a write succeeds."""
    _check(plan_promote(datastore, request))
    with datastore.client() as client:
        if not look(client).is_replica:
            return _end(datastore, config.keep_or_note(client), Lag())
    _catch_up(datastore, stop, request.wait)
    view = _view(datastore, ANSWERS_BEFORE_ACTING)
    decision = _check(_judge(view, PromoteRequest(max_lag=request.max_lag, force=request.force)))
    with datastore.client() as client:
        followed = follow_no_source(client)
    old = {"old_primary": view.old.access, "old_primary_address": view.old.address}
    discarded = {"discarded": discards_as_json(decision.discards)}
    return _end(datastore, followed | old | discarded, view.lag)


def _check(decision: Plan) -> Plan:
    if decision.refusal is not None:
        raise DatastoreRefused(f"{decision.refusal.reason}; {decision.refusal.lifted_by}")
    return decision


def follow_no_source(client: Any) -> dict[str, Any]:
    """Become writable with the present data, also after a restart."""
    before = look(client)
    client.replicaof("NO", "ONE")
    return {"followed": before.source, "was_in_sync": before.in_step} | config.keep_or_note(client)


def _already_primary(client: Any) -> Plan:
    """The plan on a primary: after a failover started elsewhere, its configuration file may still name a source."""
    if config.file_says_replica(client):
        summary = "this server is a primary already; its configuration file would say so too"
        return Plan(Would.CHANGE, summary, steps=["write this to the configuration file"])
    return plan.nothing("this server is a primary already")


def _view(datastore: Redis, within: float = ANSWERS_WITHIN) -> PromotionFacts:
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
        wanted = config.get(client, "min-replicas-to-write").get("min-replicas-to-write") or 0
        refused = probe.may_probe(client) if here.read_only else None
    if not here.is_replica:
        raise DatastoreRefused(f"Redis at {datastore.address} no longer follows a source")
    source = source_of(datastore, here, own, within)
    with ThreadPoolExecutor(1) as thread:  # both at the same moment: a plan has two seconds
        others = thread.submit(peers.states, datastore, own, source.address)
        old = _query(source)
    return PromotionFacts(here, old, _lag(here, old), int(wanted), refused, peers.rivals(here, others.result()))


def source_of(datastore: Redis, here: RedisState, own: Options, timeout: float) -> Source:
    """The source of this replica, with the login of the peer or `datastore.primary` at its address, or its own."""
    named = list(datastore.settings.peers.values())
    if (primary := datastore.peer(None)) is not None:
        named.append(primary)
    timeout = min(timeout, datastore.settings.timeout)
    for peer in named:
        source = redis_source.of_peer(peer, own, timeout)
        if source.address == here.source:
            return source
    source_now = redis_source.followed(here, own, timeout)
    assert source_now is not None  # this server is a replica
    return source_now


def _query(source: Source) -> OldPrimary:
    try:
        state = source.look()
    except (DatastoreDown, DatastoreUnreachable) as error:
        return OldPrimary(source.address, "unreachable", error=str(error))
    except DatastoreError as error:
        return OldPrimary(source.address, "unknown", error=str(error))
    return OldPrimary(source.address, "read_only" if state.read_only else "writable", state)


def _lag(here: RedisState, old: OldPrimary) -> Lag:
    """The lag: bytes of writes that this server lacks, and seconds since the old primary's last message."""
    behind = None
    if old.state is not None and here.replid in old.state.history:
        behind = max(0, old.state.offset - here.offset)
    return Lag(bytes=behind, seconds=here.silent_seconds)


def _judge(view: PromotionFacts, request: PromoteRequest) -> Plan:
    """Promote or refuse. With `request.wait` a lag that is too large now is not refused yet."""
    facts = {"old_primary": view.old.access, "old_primary_address": view.old.address, "lag": asdict(view.lag)}
    if (refusal := _refusal(view, request)) is not None and not request.force:
        return plan.refuse(*refusal, facts=facts)
    steps = ["REPLICAOF NO ONE", "write this to the configuration file", "write a probe and remove it"]
    if request.wait:
        steps.insert(0, f"wait up to {request.wait:g} s for data that the primary still sends")
    return Plan(
        Would.CHANGE,
        f"this server would become a writable primary and no longer follow {view.old.address}",
        steps=steps,
        discards=_discards(view),
        warnings=_warnings(view),
        facts=facts,
    )


def _refusal(view: PromotionFacts, request: PromoteRequest) -> tuple[str, str] | None:
    """The reason why `force` is needed, and the alternatives."""
    old, address = view.old.access, view.old.address
    if old == "writable":
        return f"the old primary {address} still accepts writes", (
            "stop it or use replication.demote there; force makes two primaries"
        )
    if old == "unknown":
        return f"the old primary {address} answers and does not report whether it accepts writes: {view.old.error}", (
            "give the agent its login in [datastore.peers]; force promotes anyway"
        )
    if (refusal := _rival(view, request)) is not None:
        return refusal
    if view.never_received:
        return "this server is empty and has received nothing from its primary since it started", (
            "promote a replica that has the data; force makes an empty primary"
        )
    if view.here.priority == 0:
        return "replica-priority is 0: this server is not meant to become a primary", (
            "promote another replica; force promotes it anyway"
        )
    if request.wait == 0 and (late := too_late(view.lag, request.max_lag)) is not None:
        return late, "wait longer or allow a larger max_lag; force promotes anyway"
    return None


def _rival(view: PromotionFacts, request: PromoteRequest) -> tuple[str, str] | None:
    """The obstacle if a third server is primary or ahead."""
    if view.upstream is not None:
        return (
            f"the source {view.old.address} is a replica and receives from {view.upstream}, which may accept writes",
            "stop that server, or follow it first (replication.follow); force promotes anyway",
        )
    if view.rivals.primary is not None:
        return f"{view.rivals.primary} accepts writes", "follow it (replication.follow); force makes two primaries"
    if view.rivals.ahead and not (request.wait and view.here.link_up):
        return view.rivals.ahead[0], "promote that server instead; force promotes anyway"
    return None


def _discards(view: PromotionFacts) -> list[Discard]:
    if not view.lag.bytes:
        return []
    return [Discard(f"writes that only the old primary {view.old.address} has", view.lag.bytes, "bytes")]


def _warnings(view: PromotionFacts) -> list[str]:
    found = []
    if view.old.access == "writable":
        found.append(f"{view.old.address} still accepts writes: there will be two primaries")
    if view.here.priority == 0:
        found.append("replica-priority is 0")
    if view.lag.bytes is None:
        found.append("it is unknown how much data of the old primary this server lacks")
    online = sum(each.online for each in view.here.replicas)
    if view.min_replicas > online:
        found.append(f"min-replicas-to-write is {view.min_replicas}, and {online} replicas are connected: no writes")
    if view.probe_refused is not None:
        found.append(f"the agent may not write the probe: {view.probe_refused}")
    return [*found, *view.rivals.ahead]


def _catch_up(datastore: Redis, stop: Stop, seconds: float) -> None:
    """Wait while the old primary still sends and has more than this server."""

    def caught_up() -> bool:
        view = _view(datastore)
        return not view.here.link_up or view.lag.bytes == 0

    poll(caught_up, seconds, stop)


def _end(datastore: Redis, members: dict[str, Any], lag: Lag) -> dict[str, Any]:
    held = probe.held_by(datastore)
    result = members | {"held_by": held, "lag": asdict(lag)}
    return result if held is None else result | {"writable": False}
