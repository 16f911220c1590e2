"""Promote one member by an election, with a report about the old primary and the lag."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, agreed
from agent.datastores.mongodb import oplog, probe
from agent.datastores.mongodb.member import MemberState, look
from agent.datastores.replication_requests import Lag, PromoteRequest, too_late
from agent.plan import Discard, Plan, Would, discards_as_json
from agent.util.poll import looks, poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB


@dataclass(frozen=True, slots=True)
class OldPrimary:
    """`access` is `unreachable`, `read_only` or `writable`; `address` is None if no primary is known."""

    address: str | None
    access: str
    state: MemberState | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionFacts:
    """The present state of this member and of its set's primary."""

    here: MemberState
    old: OldPrimary
    lag: Lag


def plan_promote(here: MongoDB, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    if here.hello().get("isWritablePrimary"):
        return plan.nothing("this server is a primary already")
    if here.is_dirty():
        return plan.refuse("the data of this server is incomplete, so it cannot be a primary", "resync it first")
    state = look(here)
    return _judge(_view(here, state), request)


def promote(here: MongoDB, stop: Stop, request: PromoteRequest) -> dict[str, Any]:
    """Call an election, wait until writes are accepted, and prove that a write is acknowledged."""
    if agreed(plan_promote(here, request)).would is Would.NOTHING:
        return {}
    view = _caught_up(here, stop, request.wait)
    decided = agreed(_judge(view, replace(request, wait=0.0)))
    here.command("replSetStepUp")
    _await_writable(here, stop)
    old = view.old if view.old.address is None else _query(here, view.old.address)
    return {
        "set": view.here.set_name,
        "lag": asdict(view.lag),
        "old_primary": old.access,
        **({"old_primary_address": old.address} if old.address else {}),
        "discarded": discards_as_json(decided.discards),
        "held_by": probe.held_by(here),
    }


def _view(here: MongoDB, state: MemberState) -> PromotionFacts:
    """The facts. The old primary has no address if the set has had no primary since this member started."""
    address = state.primary or _last_primary(here, state)
    old = OldPrimary(None, "unreachable") if address is None else _query(here, address)
    return PromotionFacts(state, old, lag(here, state, old.state))


def _last_primary(here: MongoDB, state: MemberState) -> str | None:
    """The probable old primary: `datastore.primary` if it is a member, else the only unreachable member, or None."""
    gone = [each.address for each in state.others if not each.reachable and each.state != "ARBITER"]
    if here.primary is not None:
        configured = here.primary.address.removeprefix("mongodb://").rstrip("/")
        if state.seen(configured) is not None:
            return configured
    return gone[0] if len(gone) == 1 else None


def _query(here: MongoDB, address: str) -> OldPrimary:
    server = here.member(address)
    try:
        hello = server.hello()
    except DatastoreError as error:
        return OldPrimary(address, "unreachable", error=str(error))
    state = None
    with suppress(DatastoreError):
        state = look(server)
    return OldPrimary(address, "writable" if hello.get("isWritablePrimary") else "read_only", state)


def lag(here: MongoDB, state: MemberState, primary: MemberState | None) -> Lag:
    """The lag behind the primary; without a primary, the age of the newest write here."""
    if state.optime is None:
        return Lag()
    if primary is None or primary.optime is None:
        now = state.date.timestamp() if state.date is not None else time.time()
        return Lag(seconds=max(0.0, round(now - state.optime.seconds, 1)))
    seconds = float(max(0, primary.optime.seconds - state.optime.seconds))
    missing = 0 if primary.optime <= state.optime else None
    if missing is None and primary.me is not None:
        with suppress(DatastoreError):
            missing = oplog.count_after(here.member(primary.me), state.optime)
    return Lag(seconds=seconds, transactions=missing)


def _judge(view: PromotionFacts, request: PromoteRequest) -> Plan:
    """Promote or refuse. `force` cannot override MongoDB's own conditions for an election."""
    facts = {"old_primary": view.old.access, "old_primary_address": view.old.address, "lag": asdict(view.lag)}
    if (refusal := _cannot_win(view.here)) is not None:
        return plan.refuse(*refusal, facts=facts)
    if not request.force and (refusal := _needs_force(view, request)) is not None:
        return plan.refuse(*refusal, facts=facts)
    steps = [
        "replSetStepUp: call an election",
        "wait until this server accepts writes",
        "write a probe and remove it",
    ]
    if request.wait:
        steps.insert(0, f"wait up to {request.wait:g} s for data that the primary still sends")
    return Plan(
        Would.CHANGE if view.old.access == "unreachable" else Would.DISRUPT,
        f"this server would call an election and become the primary of the set {view.here.set_name}",
        steps=steps,
        discards=_discards(view),
        warnings=_warnings(view),
        facts=facts,
    )


def _cannot_win(state: MemberState) -> tuple[str, str] | None:
    """The reason why MongoDB would not elect this member, and the cure."""
    itself = state.itself
    if state.membership != "member" or itself is None:
        return "this server is in no replica set and cannot be elected", "add it to its set and let it catch up"
    if state.state != "SECONDARY":
        return f"this server is in the state {state.state}, and only a secondary can be elected", "resync it first"
    if itself.priority == 0:
        return "the priority of this member is 0: it can never be elected", (
            "promote another member, or give this one a priority with rs.reconfig()"
        )
    votes = state.votes_of_others + itself.votes
    if votes < state.majority:
        total = sum(each.votes for each in state.members)
        return f"{votes} of the {total} votes of the set are reachable, and {state.majority} win an election", (
            "start another member; if the majority is lost permanently, run rs.reconfig() with force by hand"
        )
    return None


def _needs_force(view: PromotionFacts, request: PromoteRequest) -> tuple[str, str] | None:
    address = view.old.address
    if view.old.access == "writable":
        return f"the old primary {address} still accepts writes", (
            "use replication.demote there; force calls an election, in which the old primary steps down"
        )
    if request.wait == 0 and (late := too_late(view.lag, request.max_lag)) is not None:
        return late, "wait longer or allow a larger max_lag; force promotes anyway"
    return None


def _discards(view: PromotionFacts) -> list[Discard]:
    if not view.lag.transactions:
        return []
    return [Discard(f"writes that only the old primary {view.old.address} has", view.lag.transactions, "writes")]


def _warnings(view: PromotionFacts) -> list[str]:
    found = []
    if view.old.access == "writable":
        found.append(
            f"{view.old.address} accepts writes and steps down: its writes that this server lacks may be rolled back"
        )
    if view.lag.transactions is None:
        found.append("it is unknown how much data of the old primary this server lacks")
    own = view.here.optime
    ahead = [each.address for each in view.here.others if each.has_data and own and each.optime and each.optime > own]
    if ahead:
        found.append(f"{', '.join(ahead)} has newer writes and does not vote for this server until it also has them")
    return found


def _caught_up(here: MongoDB, stop: Stop, seconds: float) -> PromotionFacts:
    """Wait while this member is behind the primary."""
    for _ in looks(seconds, stop):
        view = _view(here, look(here))
        if view.old.state is None or view.lag.transactions == 0:
            break
    return view


def _await_writable(here: MongoDB, stop: Stop) -> None:
    """Wait until the new primary accepts writes: it first applies newer writes of the other members."""
    if poll(lambda: here.hello().get("isWritablePrimary"), here.settings.timeout, stop):
        return
    state = look(here)
    if state.state == "PRIMARY":
        raise DatastoreUnreachable(f"MongoDB at {here.address} was elected and does not accept writes yet")
    leads = f": {state.primary} is the primary" if state.primary else ""
    raise DatastoreRefused(f"MongoDB at {here.address} did not stay the primary{leads}")
