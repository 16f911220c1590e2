"""Promote a PostgreSQL: check the obstacles, catch up, promote, prove that a commit completes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.config import Datastore as Settings
from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, Target, one
from agent.datastores.postgresql.peers import (
    ANSWERS_BEFORE_ACTING,
    ANSWERS_WITHIN,
    PeerState,
    ask_all,
    ask_source,
    source_params,
)
from agent.datastores.postgresql.readiness import held_by
from agent.datastores.postgresql.rivals import ahead_of, upstream_of
from agent.datastores.postgresql.slot import drop_slot
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.models import Json
from agent.plan import Discard, Plan, Would, nothing, refuse
from agent.util.pauses import Pauses
from agent.util.poll import pause_after
from agent.util.stop import Stop

PROBE = 5.0
"""Timeout in seconds of the first commit."""

# Writes WAL and commits like any transaction, but changes no row.
COMMIT = "SELECT pg_logical_emit_message(true, 'agent', '')"
STARTUP = "SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"


REPLAY = """
    SELECT CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN NULL
                WHEN pg_is_wal_replay_paused() THEN 'paused'
                WHEN current_setting('recovery_min_apply_delay') <> '0'
                THEN 'delayed by ' || current_setting('recovery_min_apply_delay') END
"""


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


def plan(settings: Settings, server: Target, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    return _decide(look(settings, server), request)


def promote(settings: Settings, server: Target, stop: Stop, request: PromoteRequest) -> Json:
    """Promote this replica and wait until it accepts writes. Returns the members of the result."""
    seen = look(settings, server, ANSWERS_BEFORE_ACTING)
    decided = _decide(seen, request)
    if decided.refusal is not None:
        raise DatastoreRefused(decided.refusal.reason)
    if seen.leads:
        return {}
    if request.wait:
        seen = _catch_up(settings, server, stop, request, seen)
    with server.connect() as connection:
        slot, params = one(connection, "SHOW primary_slot_name"), source_params(connection)
        connection.execute("SELECT pg_promote(false)")
    _await_primary(server, stop)
    members = seen.as_result()
    if slot and seen.source is not None and seen.source.state == "read_only":
        members["slot"] = drop_slot(settings, params, slot, stop)  # it would retain WAL without limit
    with server.connect() as connection:
        row: Any = connection.execute("SELECT pg_walfile_name(lsn), lsn::text FROM pg_current_wal_lsn() lsn").fetchone()
    return members | {"held_by": probe(server), "timeline": int(row[0][:8], 16), "lsn": row[1]}


def look(settings: Settings, server: Target, timeout: float = ANSWERS_WITHIN) -> PromotionFacts:
    """The state of this server, its source and the configured servers; `timeout` in seconds for the others."""
    with server.connect() as connection:
        if not one(connection, "SELECT pg_is_in_recovery()"):
            return PromotionFacts(True, None, (), Lag(), False, "")
        source, others = ask_all(settings, source_params(connection), timeout)
        own = facts.cluster_id(connection)
        receiver = _receiver(connection)
        of_cluster = [each for each in others if each.cluster_id == own]
        return PromotionFacts(
            leads=False,
            source=None if source is None else _of_cluster(source, own),
            others=of_cluster,
            lag=_lag(connection, source, own),
            streaming=receiver is not None and receiver[0] == "streaming",
            synchronous=str(one(connection, "SHOW synchronous_standby_names")),
            upstream=upstream_of(connection, source),
            ahead=ahead_of(connection, of_cluster),
            replay=one(connection, REPLAY),
        )


def _of_cluster(source: PeerState, own: str) -> PeerState:
    """The old primary; a server of another cluster at the source's address does not count as it."""
    if source.cluster_id in (None, own):
        return source
    return PeerState(source.address, "unreachable", error=f"{source.address} belongs to another cluster now")


def _lag(connection: Connection, source: PeerState | None, own: str) -> Lag:
    """The data of the source that this server did not receive. Received WAL is replayed, so it is not lost."""
    missing = None
    if source is not None and source.position is not None and source.cluster_id == own:
        missing = max(0, facts.bytes_between(connection, source.position, facts.position(connection)))
    receiver = _receiver(connection)
    age = receiver[1] if receiver is not None else facts.seconds_since_commit(connection)
    if missing == 0:
        age = 0.0  # an idle primary sends nothing, so the age of its last message is no lag
    return Lag(bytes=missing, seconds=None if age is None else round(max(0.0, age), 3))


def _receiver(connection: Connection) -> tuple[str, float | None, int | None] | None:
    """The receiver's state, or None if the agent may not see it: a promotion is not refused for that."""
    try:
        return facts.receiver(connection)
    except DatastoreRefused:
        return None


def _decide(seen: PromotionFacts, request: PromoteRequest) -> Plan:
    if seen.leads:
        return nothing("this server is a primary already")
    known = seen.as_result() | {"streaming": seen.streaming, "force": request.force}
    waits = request.wait > 0 and seen.streaming
    if not request.force and (refusal := _refusal(seen, waits=waits)) is not None:
        return refuse(*refusal, facts=known)
    if (exceeded := _exceeded(seen.lag, request)) is not None and not waits:
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
        reason = f"the old primary at {old.address} runs, and whether it accepts writes is not known: {old.error}"
        return reason, "add it to [datastore.peers] with credentials, or use force"
    if old is not None and seen.upstream is not None:
        reason = f"the source {old.address} is a standby and receives from {seen.upstream}, which may accept writes"
        return reason, "stop that server, or follow it first (replication.follow), or use force"
    if seen.ahead and not waits:
        return seen.ahead[0], "promote that server instead, or use force"
    return None


def _exceeded(lag: Lag, request: PromoteRequest) -> str | None:
    """A sentence that the lag exceeds the limit or is unknown; None if it does not, or with `force`."""
    limit = request.max_lag
    if limit is None or request.force:
        return None
    if limit.bytes is not None and (lag.bytes is None or lag.bytes > limit.bytes):
        behind = "at an unknown distance, as the old primary does not answer" if lag.bytes is None else ""
        return f"this server is behind {behind or f'by {lag.bytes} bytes'}; max_lag is {limit.bytes} bytes"
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
        found.append(f"the old primary {why}: what it wrote and did not send is lost, and its amount is unknown")
    if old is None:
        found.append("this server follows no source: it is not known whether another server accepts writes")
    elif old.state in ("writable", "unknown"):
        found.append(f"the old primary at {old.address} may accept writes: there would be two primaries")
    elif old.error is not None and old is seen.source:
        found.append(old.error)
    if seen.replay is not None:
        found.append(f"the replay of this server is {seen.replay}: a promotion replays first whatever was received")
    if seen.upstream is not None:
        found.append(f"the source receives from {seen.upstream}: there may be two primaries")
    return [*found, *seen.ahead]


def _catch_up(
    settings: Settings, server: Target, stop: Stop, request: PromoteRequest, seen: PromotionFacts
) -> PromotionFacts:
    """Wait until nothing is missing, the source stops sending, or the timeout. Raises `DatastoreRefused`."""
    began = time.monotonic()
    while seen.streaming and seen.lag.bytes != 0 and (waited := time.monotonic() - began) < request.wait:
        if stop.wait(min(pause_after(waited), request.wait - waited)):
            raise DatastoreRefused(f"cancelled while this server caught up; nothing is changed: {stop.reason}")
        seen = _look_again(settings, server, seen)
    if (exceeded := _exceeded(seen.lag, request)) is not None:
        raise DatastoreRefused(f"after {request.wait:g} s {exceeded}")
    return seen


def _look_again(settings: Settings, server: Target, seen: PromotionFacts) -> PromotionFacts:
    with server.connect() as connection:
        source, own = ask_source(settings, source_params(connection)), facts.cluster_id(connection)
        receiver = _receiver(connection)
        streaming = receiver is not None and receiver[0] == "streaming"
        lag = _lag(connection, source, own)
    if source is None or source.position is None:
        # The source is unreachable: its last known position is the best estimate.
        return replace(seen, streaming=False)
    return replace(seen, source=_of_cluster(source, own), lag=lag, streaming=streaming)


def _await_primary(server: Target, stop: Stop) -> None:
    """Wait until the server is a primary. Raises `OutcomeUnknown` after the timeout: a promotion cannot be undone."""
    deadline = time.monotonic() + server.timeout
    waits_for: str | None = None
    pauses = Pauses()
    while True:
        with server.connect() as connection:
            if not one(connection, "SELECT pg_is_in_recovery()"):
                return
            row = connection.execute(STARTUP).fetchone()
            waits_for = row[0] if row else None
        if stop.requested or time.monotonic() > deadline:
            why = stop.reason or f"{server.timeout:g} s are over (datastore.timeout)"
            message = f"PostgreSQL at {server.address} is not a primary yet, and may still become one: {why}"
            raise OutcomeUnknown(message, waits_for)
        stop.wait(pauses.next())


def probe(server: Target) -> str | None:
    """The reason why a test commit does not complete, or None. The test changes no row."""
    quick = replace(server, timeout=min(server.timeout, PROBE))
    try:
        with quick.connect() as connection:
            if one(connection, "SHOW default_transaction_read_only") == "on":
                return "default_transaction_read_only is on"
            connection.execute(COMMIT)
            if not connection.unconfirmed:
                return None
            waited = connection.waits_for
    except DatastoreError as error:
        return str(error)
    with suppress(DatastoreError), quick.connect() as connection:
        return held_by(connection) or waited
    return waited
