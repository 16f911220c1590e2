"""Promote a replica: check losses and other writable primaries, promote, prove that a commit completes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError, DatastoreRefused, agreed
from agent.datastores.mysql import (
    commit,
    filters as mysql_filters,
    lag as mysql_lag,
    peer,
    replication,
    rivals as mysql_rivals,
    semisync as mysql_semisync,
)
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.peer import OldPrimary
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.rivals import Rivals
from agent.datastores.mysql.semisync import SemiSync
from agent.datastores.mysql.session import Row, Session, connect
from agent.datastores.replication_requests import Lag, PromoteRequest, too_late
from agent.plan import Discard, Plan, Would, discards_as_json, nothing, refuse
from agent.util.poll import poll
from agent.util.stop import Stop


@dataclass(frozen=True, slots=True)
class PromotionFacts:
    """The facts for the decision. `errant` are GTIDs of this server that its primary lacks; None: not known.

    `broken` is the reason why received transactions are never applied, `unapplied` their amount. `filters` exclude
    data of the source from this server; `empty`: it has no transaction.
    """

    followed: Sequence[Row]
    olds: Sequence[OldPrimary]
    lag: Lag
    errant: str | None
    broken: str | None
    unapplied: Lag
    semisync: SemiSync
    rivals: Rivals
    filters: str | None
    empty: bool

    @property
    def old(self) -> OldPrimary | None:
        """The most important of several old primaries."""
        order = ("writable", "unknown", "read_only", "unreachable")
        return min(self.olds, key=lambda each: order.index(each.state), default=None)

    @property
    def streams(self) -> bool:
        return bool(self.followed) and all(row["Replica_IO_Running"] == "Yes" for row in self.followed)


def plan(session: Session, settings: DatastoreSettings, request: PromoteRequest) -> Plan:
    """What `promote` would do now. The caller has checked that the data is complete."""
    if replication.role(session).leads:
        return nothing("this server is a primary already")
    return _decide(look(session, settings), request)


def promote(at: Address, settings: DatastoreSettings, stop: Stop, request: PromoteRequest) -> dict[str, Any]:
    """Catch up, apply everything received, stop following, accept writes, and test a commit."""
    with connect(at, settings.timeout) as session:
        agreed(plan(session, settings, request))
        _catch_up(session, settings, stop, request)
        view = look(session, settings, peer.ANSWERS_BEFORE_ACTING)
        decided = agreed(_decide(view, PromoteRequest(max_lag=request.max_lag, force=request.force)))
        done = replication.promote(session, settings.timeout, stop, give_up=view.broken is not None)
    return {
        "lag": asdict(view.lag),
        "old_primary": view.old.state if view.old else "unknown",
        "old_primary_address": view.old.address if view.old else "",
        "held_by": commit.held_by(at, settings.timeout),
        "discarded": discards_as_json(decided.discards),
        "errant": view.errant,
        "position": position(at, settings.timeout),
        **done,
    }


def position(at: Address, timeout: float) -> str | None:
    """The GTIDs at the start of the new primary."""
    try:
        with connect(at, timeout) as session:
            return applied(session)
    except DatastoreError:
        return None


def look(session: Session, settings: DatastoreSettings, within: float = peer.ANSWERS_WITHIN) -> PromotionFacts:
    """Read the facts of this server and of its group. The other servers have `within` seconds to answer."""
    followed = session.replica_status()
    olds, others = mysql_rivals.ask(settings, followed, within)
    known = all(old.applied is not None for old in olds) and bool(olds)
    broken = next(filter(None, (replication.never_applies(session, row) for row in followed)), None)
    return PromotionFacts(
        followed=followed,
        olds=olds,
        lag=mysql_lag.behind(session, followed, olds) if known else mysql_lag.silence(session),
        errant=mysql_lag.errant(session, [str(old.applied) for old in olds]) if known else None,
        broken=broken,
        unapplied=mysql_lag.unapplied(session, followed),
        semisync=mysql_semisync.look(session),
        rivals=mysql_rivals.look(session, olds, others),
        filters=mysql_filters.of(session),
        empty=not applied(session),
    )


def _catch_up(session: Session, settings: DatastoreSettings, stop: Stop, request: PromoteRequest) -> None:
    """Wait at most `request.wait` seconds while the primary still sends."""

    def caught_up() -> bool:
        view = look(session, settings)
        return view.lag.transactions == 0 or not view.streams

    if not poll(caught_up, request.wait, stop) and stop.requested:
        raise DatastoreRefused(f"{session.where} was not promoted: {stop.reason}")


def _decide(view: PromotionFacts, request: PromoteRequest) -> Plan:
    facts = _facts(view)
    if not request.force and (refusal := _refusal(view, request)) is not None:
        return refuse(*refusal, facts=facts)
    discards = _discards(view)
    waits = request.wait and view.streams
    steps = [
        *([f"wait up to {request.wait:g} s for data that the primary still sends"] if waits else []),
        "stop receiving",
        *([] if view.broken else ["apply all received transactions"]),
        "follow no source",
        "accept writes",
        "test a commit that changes no data",
    ]
    return Plan(
        Would.DESTROY if view.broken else Would.CHANGE,
        "this server would become a writable primary",
        steps=steps,
        discards=discards,
        warnings=list(_warnings(view)),
        facts=facts,
    )


def _refusal(view: PromotionFacts, request: PromoteRequest) -> tuple[str, str] | None:
    """The reason why `force` is needed, and the alternatives."""
    old = view.old
    if view.broken is not None:
        return view.broken, "repair replication or resync this server; force discards the received transactions"
    if old is not None and old.state == "writable":
        return (
            f"the old primary {old.address} still accepts writes",
            "stop it or use replication.demote there; force makes two primaries",
        )
    if old is not None and old.state == "unknown":
        return (
            f"the old primary {old.address} answers and does not report whether it accepts writes: {old.error}",
            "give the agent its login in [datastore.peers]; force promotes anyway",
        )
    if (refusal := _rival(view, request)) is not None:
        return refusal
    if view.empty and view.lag.transactions != 0:
        return (
            "this server has no transaction at all: it never received the data of its source",
            "promote a replica that has the data, or resync this one; force makes an empty primary",
        )
    if view.filters is not None:
        return (
            f"this server replicates with filters, so it may lack data of its source: {view.filters}",
            "promote a replica without filters; force promotes anyway",
        )
    if (delayed := mysql_lag.delayed(view.followed)) is not None and view.unapplied.transactions != 0:
        return delayed, "set the delay to 0 first, so that all received transactions are applied"
    late = too_late(view.lag, request.max_lag)
    if late is not None and not (request.wait and view.streams):
        return late, "wait until it has caught up; force promotes anyway"
    return None


def _rival(view: PromotionFacts, request: PromoteRequest) -> tuple[str, str] | None:
    """The obstacle if a third server is primary or ahead."""
    rivals = view.rivals
    if view.old is not None and rivals.upstream is not None:
        return (
            f"the source {view.old.address} is a replica and receives from {rivals.upstream}, which may accept writes",
            "stop that server, or follow it first (replication.follow); force promotes anyway",
        )
    if rivals.primary is not None:
        return f"{rivals.primary} accepts writes", "follow it (replication.follow); force makes two primaries"
    if rivals.ahead and not (request.wait and view.streams):
        return rivals.ahead[0], "promote that server instead; force promotes anyway"
    return None


def _discards(view: PromotionFacts) -> list[Discard]:
    found = []
    if view.lag.transactions:
        found.append(
            Discard("transactions of the old primary that were not received", view.lag.transactions, "transactions")
        )
    if view.broken is not None:
        amount = view.unapplied.transactions
        found.append(Discard("transactions that were received and are not applied", amount, "transactions"))
    return found


def _warnings(view: PromotionFacts) -> list[str]:
    found = []
    old = view.old
    if old is None:
        found.append("this server follows no source: the agent does not know the old primary and cannot query it")
    elif view.lag.transactions is None:
        found.append(f"it is unknown how many transactions of {old.address} were not received: {old.error}")
    if view.errant:
        found.append(f"this server has transactions that {old.address if old else 'its source'} lacks: {view.errant}")
    if not view.semisync.satisfied:
        found.append(f"commits will wait: {view.semisync}")
    if view.filters is not None:
        found.append(f"replication filters exclude data of the source from this server: {view.filters}")
    return [*found, *view.rivals.ahead]


def _facts(view: PromotionFacts) -> dict[str, Any]:
    old = view.old
    return {
        "old_primary": old.state if old else "unknown",
        "old_primary_address": old.address if old else None,
        "lag": asdict(view.lag),
        "unapplied": asdict(view.unapplied),
        "errant": view.errant,
        "streaming": view.streams,
    }
