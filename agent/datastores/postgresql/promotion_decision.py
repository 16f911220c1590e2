"""Decide whether a PostgreSQL is promoted, from facts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agent.datastores.postgresql.peers import PeerState
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.models import Json
from agent.plan import Discard, Plan, Would, nothing, refuse


@dataclass(frozen=True)
class PromotionFacts:
    """The facts for the decision about a promotion.

    `upstream`: the server that sends to the source. `ahead`: sentences about replicas with more WAL. `replay`: the
    reason why received WAL is not replayed now.
    """

    leads: bool
    source: PeerState | None
    others: Sequence[PeerState]
    lag: Lag
    streaming: bool
    synchronous: str
    upstream: str | None = None
    ahead: Sequence[str] = ()
    replay: str | None = None

    @property
    def old_primary(self) -> PeerState | None:
        """The server that accepts writes now, otherwise the source."""
        return next((each for each in self.others if each.state == "writable"), self.source)

    def as_result(self) -> dict[str, Json]:
        """The members of the result about the lag and the old primary."""
        old = self.old_primary
        members: dict[str, Json] = {"lag": asdict(self.lag), "old_primary": old.state if old else "unknown"}
        return members | ({"old_primary_address": old.address} if old else {})


def decide(seen: PromotionFacts, request: PromoteRequest) -> Plan:
    """What a promotion would do: nothing, change this server, or a refusal with its reason."""
    if seen.leads:
        return nothing("this server is a primary already")
    known = seen.as_result() | {"streaming": seen.streaming, "force": request.force}
    waits = request.wait > 0 and seen.streaming
    if not request.force and (refusal := _refusal(seen, waits=waits)) is not None:
        return refuse(*refusal, facts=known)
    if (exceeded := limit_exceeded(seen.lag, request)) is not None and not waits:
        return refuse(exceeded, "wait until it has caught up, allow a larger max_lag, or use force", facts=known)
    behind = seen.lag.bytes or 0
    what = "WAL of the old primary that this server did not receive"
    return Plan(
        Would.CHANGE,
        "this server would become a writable primary",
        steps=[*([f"wait up to {request.wait:g} s to catch up"] if waits else []), "promote this server"],
        discards=[Discard(what, behind, "bytes")] if behind and not waits else [],
        warnings=[*_warnings(seen), *([f"{exceeded}, unless it catches up in time"] if exceeded else [])],
        facts=known,
    )


def _refusal(seen: PromotionFacts, *, waits: bool) -> tuple[str, str] | None:
    """The reason why `force` is needed, and the alternatives."""
    old = seen.old_primary
    if old is not None and old.state == "writable":
        reason = f"the old primary at {old.address} is reachable and accepts writes"
        return reason, "stop it or make it read-only (replication.demote), or use force"
    if old is not None and old.state == "unknown":
        reason = f"the old primary at {old.address} runs, and it is unknown whether it accepts writes: {old.error}"
        return reason, "add it to [datastore.peers] with credentials, or use force"
    if old is not None and seen.upstream is not None:
        reason = f"the source {old.address} is a standby and receives from {seen.upstream}, which may accept writes"
        return reason, "stop that server, or follow it first (replication.follow), or use force"
    if seen.ahead and not waits:
        return seen.ahead[0], "promote that server instead, or use force"
    return None


def limit_exceeded(lag: Lag, request: PromoteRequest) -> str | None:
    """A sentence that the lag exceeds the limit or is unknown; None if it does not, or with `force`."""
    limit = request.max_lag
    if limit is None or request.force:
        return None
    if limit.bytes is not None and (lag.bytes is None or lag.bytes > limit.bytes):
        behind = "an unknown number of" if lag.bytes is None else lag.bytes
        why = ", as the old primary does not answer" if lag.bytes is None else ""
        return f"this server is {behind} bytes behind{why}; max_lag is {limit.bytes} bytes"
    if limit.seconds is not None and (lag.seconds is None or lag.seconds > limit.seconds):
        behind = "an unknown time" if lag.seconds is None else f"{lag.seconds:g} s"
        return f"the last message of the old primary is {behind} old; max_lag is {limit.seconds:g} s"
    return None


def _warnings(seen: PromotionFacts) -> list[str]:
    found = []
    if seen.synchronous:
        setting = f"synchronous_standby_names = '{seen.synchronous}'"
        found.append(f"{setting}: commits on this server will wait until these standbys follow it")
    old = seen.old_primary
    if seen.lag.bytes is None:
        why = "does not answer" if old is None or old.state == "unreachable" else "is not the source of this server now"
        found.append(f"the old primary {why}: an unknown amount of data that it wrote and did not send is lost")
    if old is None:
        found.append("this server follows no source: it is unknown whether another server accepts writes")
    elif old.state in ("writable", "unknown"):
        found.append(f"the old primary at {old.address} may accept writes: there would be two primaries")
    elif old.error is not None and old is seen.source:
        found.append(old.error)
    if seen.replay is not None:
        found.append(f"the replay of this server is {seen.replay}: a promotion first replays all received WAL")
    if seen.upstream is not None:
        found.append(f"the source receives from {seen.upstream}: there may be two primaries")
    return [*found, *seen.ahead]
