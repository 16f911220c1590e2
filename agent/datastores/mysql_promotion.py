"""The promotion of a replica: what it would lose, whether another primary still takes writes, and its proof."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent.config import Datastore as Settings
from agent.datastores import mysql_commit, mysql_lag, mysql_peer, mysql_replication, mysql_semisync
from agent.datastores.base import DatastoreError, DatastoreRefused, agreed
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_peer import OldPrimary
from agent.datastores.mysql_position import applied
from agent.datastores.mysql_semisync import SemiSync
from agent.datastores.mysql_session import Row, Session, connect
from agent.datastores.requests import Lag, PromoteRequest
from agent.plan import Discard, Plan, Would, discards_as_json, nothing, refuse
from agent.stop import Stop

LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class View:
    """What a promotion is decided from. `errant` are GTIDs that this server has and its primary lacks; None: not known.

    `broken` says why what was received is never applied, `unapplied` is how much that is.
    """

    followed: Sequence[Row]
    olds: Sequence[OldPrimary]
    lag: Lag
    errant: str | None
    broken: str | None
    unapplied: Lag
    semisync: SemiSync

    @property
    def old(self) -> OldPrimary | None:
        """Of several the one that matters most."""
        order = ("writable", "unknown", "read_only", "unreachable")
        return min(self.olds, key=lambda each: order.index(each.state), default=None)

    @property
    def streams(self) -> bool:
        return bool(self.followed) and all(row["Replica_IO_Running"] == "Yes" for row in self.followed)


def plan(session: Session, settings: Settings, request: PromoteRequest) -> Plan:
    """What `promote` would do now. The data is whole."""
    if mysql_replication.role(session).leads:
        return nothing("this server is a primary already")
    return _decide(look(session, settings), request)


def promote(at: Address, settings: Settings, stop: Stop, request: PromoteRequest) -> dict[str, Any]:
    """Catch up as asked for, apply what was received, follow no source, take writes, and try a commit."""
    with connect(at, settings.timeout) as session:
        agreed(plan(session, settings, request))
        _catch_up(session, settings, stop, request)
        view = look(session, settings, mysql_peer.ASK_BEFORE_ACTING)
        decided = agreed(_decide(view, PromoteRequest(max_lag=request.max_lag, force=request.force)))
        done = mysql_replication.promote(session, settings.timeout, stop, give_up=view.broken is not None)
    return {
        "lag": asdict(view.lag),
        "old_primary": view.old.state if view.old else "unknown",
        "old_primary_address": view.old.address if view.old else "",
        "held_by": mysql_commit.held_by(at, settings.timeout),
        "discarded": discards_as_json(decided.discards),
        "errant": view.errant,
        "position": position(at, settings.timeout),
        **done,
    }


def position(at: Address, timeout: float) -> str | None:
    """The GTIDs that the new primary begins with."""
    try:
        with connect(at, timeout) as session:
            return applied(session)
    except DatastoreError:
        return None


def look(session: Session, settings: Settings, ask_for: float = mysql_peer.ASK_FOR) -> View:
    """Read this server and the primaries that it follows, each of which may take `ask_for` seconds."""
    followed = session.replica_status()
    olds = [mysql_peer.ask(settings, row, ask_for) for row in followed]
    known = all(old.applied is not None for old in olds) and bool(olds)
    broken = next(filter(None, (mysql_replication.never_applies(session, row) for row in followed)), None)
    return View(
        followed=followed,
        olds=olds,
        lag=mysql_lag.behind(session, followed, olds) if known else mysql_lag.silence(session),
        errant=mysql_lag.errant(session, [str(old.applied) for old in olds]) if known else None,
        broken=broken,
        unapplied=mysql_lag.unapplied(session, followed),
        semisync=mysql_semisync.look(session),
    )


def _catch_up(session: Session, settings: Settings, stop: Stop, request: PromoteRequest) -> None:
    """Wait for `request.wait` seconds at most while the primary still sends."""
    deadline = time.monotonic() + request.wait
    while True:
        view = look(session, settings)
        if view.lag.transactions == 0 or not view.streams or time.monotonic() > deadline:
            return
        if stop.wait(LOOK_EVERY):
            raise DatastoreRefused(f"{session.where} was not promoted: {stop.reason}")


def _decide(view: View, request: PromoteRequest) -> Plan:
    facts = _facts(view)
    if not request.force and (refusal := _refusal(view, request)) is not None:
        return refuse(*refusal, facts=facts)
    discards = _discards(view)
    steps = [
        *([f"wait up to {request.wait:g} s for what the primary still sends"] if request.wait and view.streams else []),
        "stop receiving",
        *([] if view.broken else ["apply what was received"]),
        "follow no source",
        "take writes",
        "try a commit that leaves nothing behind",
    ]
    return Plan(
        Would.DESTROY if view.broken else Would.CHANGE,
        "this server would become a writable primary",
        steps=steps,
        discards=discards,
        warnings=list(_warnings(view)),
        facts=facts,
    )


def _refusal(view: View, request: PromoteRequest) -> tuple[str, str] | None:
    """Why `force` is needed, and what else would do."""
    old = view.old
    if view.broken is not None:
        return view.broken, "repair replication or resync this server; force gives up what was received"
    if old is not None and old.state == "writable":
        return (
            f"the old primary {old.address} still takes writes",
            "stop it or use replication.demote there; force makes two primaries",
        )
    if old is not None and old.state == "unknown":
        return (
            f"the old primary {old.address} answers and does not say whether it takes writes: {old.error}",
            "give the agent its login in [datastore.peers]; force promotes all the same",
        )
    if (delayed := mysql_lag.delayed(view.followed)) is not None and view.unapplied.transactions != 0:
        return delayed, "set the delay to 0 first, so that what was received is applied"
    too_late = mysql_lag.too_late(view.lag, request.max_lag)
    if too_late is not None and not (request.wait and view.streams):
        return too_late, "wait until it has caught up; force promotes all the same"
    return None


def _discards(view: View) -> list[Discard]:
    found = []
    if view.lag.transactions:
        found.append(
            Discard("transactions of the old primary that were not received", view.lag.transactions, "transactions")
        )
    if view.broken is not None:
        amount = view.unapplied.transactions
        found.append(Discard("transactions that were received and are not applied", amount, "transactions"))
    return found


def _warnings(view: View) -> list[str]:
    said = []
    old = view.old
    if old is None:
        said.append("this server follows no source: the agent does not know the old primary and cannot ask it")
    elif view.lag.transactions is None:
        said.append(f"how many transactions of {old.address} were not received is not known: {old.error}")
    if view.errant:
        said.append(f"this server has transactions that {old.address if old else 'its source'} lacks: {view.errant}")
    if not view.semisync.satisfied:
        said.append(f"commits will wait: {view.semisync}")
    return said


def _facts(view: View) -> dict[str, Any]:
    old = view.old
    return {
        "old_primary": old.state if old else "unknown",
        "old_primary_address": old.address if old else None,
        "lag": asdict(view.lag),
        "unapplied": asdict(view.unapplied),
        "errant": view.errant,
        "streaming": view.streams,
    }
