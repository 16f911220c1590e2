"""The promotion of a PostgreSQL: what speaks against it, catching up, and the proof that commits get through."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.config import Datastore as Settings
from agent.datastores import postgresql_facts as facts
from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.postgresql_connection import LOOK_EVERY, Connection, Target, one
from agent.datastores.postgresql_neighbours import (
    ANSWERS_BEFORE_ACTING,
    ANSWERS_WITHIN,
    Neighbour,
    ask_all,
    ask_source,
    source_params,
)
from agent.datastores.postgresql_readiness import held_by
from agent.datastores.requests import Lag, PromoteRequest
from agent.models import Json
from agent.plan import Discard, Plan, Would, nothing, refuse
from agent.stop import Stop

PROBE = 5.0
"""Seconds that the first commit may take."""

# WAL and a commit that waits as any other does, and no row anywhere.
COMMIT = "SELECT pg_logical_emit_message(true, 'agent', '')"
STARTUP = "SELECT wait_event_type || ':' || wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"


@dataclass(frozen=True)
class Look:
    """What a promotion is decided from."""

    leads: bool
    source: Neighbour | None
    others: Sequence[Neighbour]
    lag: Lag
    streaming: bool
    synchronous: str

    @property
    def old_primary(self) -> Neighbour | None:
        """The server that takes writes now, else the source."""
        return next((each for each in self.others if each.state == "writable"), self.source)

    def as_result(self) -> dict[str, Json]:
        """The members of the result that say what was left behind."""
        old = self.old_primary
        members: dict[str, Json] = {"lag": asdict(self.lag), "old_primary": old.state if old else "unknown"}
        return members | ({"old_primary_address": old.address} if old else {})


def plan(settings: Settings, server: Target, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    return _decide(look(settings, server), request)


def promote(settings: Settings, server: Target, stop: Stop, request: PromoteRequest) -> Json:
    """Promote this replica, and wait until it writes. Returns the members of the result."""
    seen = look(settings, server, ANSWERS_BEFORE_ACTING)
    decided = _decide(seen, request)
    if decided.refusal is not None:
        raise DatastoreRefused(decided.refusal.reason)
    if seen.leads:
        return {}
    if request.wait:
        seen = _catch_up(settings, server, stop, request, seen)
    with server.connect() as connection:
        connection.execute("SELECT pg_promote(false)")
    _await_primary(server, stop)
    with server.connect() as connection:
        row: Any = connection.execute("SELECT pg_walfile_name(lsn), lsn::text FROM pg_current_wal_lsn() lsn").fetchone()
    return seen.as_result() | {"held_by": probe(server), "timeline": int(row[0][:8], 16), "lsn": row[1]}


def look(settings: Settings, server: Target, timeout: float = ANSWERS_WITHIN) -> Look:
    """The state of this server, of its source and of the configured servers, which have `timeout` seconds."""
    with server.connect() as connection:
        if not one(connection, "SELECT pg_is_in_recovery()"):
            return Look(True, None, (), Lag(), False, "")
        source, others = ask_all(settings, source_params(connection), timeout)
        own = facts.cluster_id(connection)
        receiver = _receiver(connection)
        return Look(
            leads=False,
            source=None if source is None else _of_cluster(source, own),
            others=[each for each in others if each.cluster_id == own],
            lag=_lag(connection, source, own),
            streaming=receiver is not None and receiver[0] == "streaming",
            synchronous=str(one(connection, "SHOW synchronous_standby_names")),
        )


def _of_cluster(source: Neighbour, own: str) -> Neighbour:
    """The server of another cluster at the address of the source is not the old primary."""
    if source.cluster_id in (None, own):
        return source
    return Neighbour(source.address, "unreachable", error=f"{source.address} belongs to another cluster now")


def _lag(connection: Connection, source: Neighbour | None, own: str) -> Lag:
    """What the source has and this server did not receive. What was received is replayed, so it is not lost."""
    missing = None
    if source is not None and source.position is not None and source.cluster_id == own:
        missing = max(0, facts.bytes_between(connection, source.position, facts.position(connection)))
    receiver = _receiver(connection)
    age = receiver[1] if receiver is not None else facts.seconds_since_commit(connection)
    if missing == 0:
        age = 0.0  # an idle primary sends nothing for a while, and nothing is missing
    return Lag(bytes=missing, seconds=None if age is None else round(max(0.0, age), 3))


def _receiver(connection: Connection) -> tuple[str, float | None, int | None] | None:
    """A receiver that the agent may not see is no reason to refuse a promotion."""
    try:
        return facts.receiver(connection)
    except DatastoreRefused:
        return None


def _decide(seen: Look, request: PromoteRequest) -> Plan:
    if seen.leads:
        return nothing("this server is a primary already")
    known = seen.as_result() | {"streaming": seen.streaming, "force": request.force}
    old = seen.old_primary
    if old is not None and not request.force:
        if old.state == "writable":
            reason = f"the old primary at {old.address} is reachable and takes writes"
            return refuse(reason, "stop it or make it read-only (replication.demote), or use force", facts=known)
        if old.state == "unknown":
            reason = f"the old primary at {old.address} runs, and whether it takes writes is not known: {old.error}"
            return refuse(reason, "add it to [datastore.peers] with credentials, or use force", facts=known)
    waits = request.wait > 0 and seen.streaming
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


def _exceeded(lag: Lag, request: PromoteRequest) -> str | None:
    """How this server is too far behind, or not known to be near enough; None where it is or `force` is given."""
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


def _warnings(seen: Look) -> list[str]:
    found = []
    if seen.synchronous:
        setting = f"synchronous_standby_names = '{seen.synchronous}'"
        found.append(f"{setting}: commits on this server will wait until these standbys follow it")
    old = seen.old_primary
    if seen.lag.bytes is None:
        why = "does not answer" if old is None or old.state == "unreachable" else "is not the source of this server now"
        found.append(f"the old primary {why}: what it wrote and did not send is lost, and its amount is unknown")
    if old is None:
        found.append("this server follows no source: whether another server takes writes is not known")
    elif old.state in ("writable", "unknown"):
        found.append(f"the old primary at {old.address} may take writes: there would be two primaries")
    elif old.error is not None and old is seen.source:
        found.append(old.error)
    return found


def _catch_up(settings: Settings, server: Target, stop: Stop, request: PromoteRequest, seen: Look) -> Look:
    """Wait until nothing is missing, the source sends no more, or the time is over. Raises `DatastoreRefused`."""
    began = time.monotonic()
    while seen.streaming and seen.lag.bytes != 0 and (waited := time.monotonic() - began) < request.wait:
        if stop.wait(min(max(LOOK_EVERY, waited / 10), request.wait - waited)):
            raise DatastoreRefused(f"cancelled while this server caught up; nothing is changed: {stop.reason}")
        seen = _look_again(settings, server, seen)
    if (exceeded := _exceeded(seen.lag, request)) is not None:
        raise DatastoreRefused(f"after {request.wait:g} s {exceeded}")
    return seen


def _look_again(settings: Settings, server: Target, seen: Look) -> Look:
    with server.connect() as connection:
        source, own = ask_source(settings, source_params(connection)), facts.cluster_id(connection)
        receiver = _receiver(connection)
        streaming = receiver is not None and receiver[0] == "streaming"
        lag = _lag(connection, source, own)
    if source is None or source.position is None:
        # The source went away: what it had last is the best that is known.
        return replace(seen, streaming=False)
    return replace(seen, source=_of_cluster(source, own), lag=lag, streaming=streaming)


def _await_primary(server: Target, stop: Stop) -> None:
    """Raises `OutcomeUnknown` where it is no primary in `datastore.timeout`: a promotion cannot be taken back."""
    deadline = time.monotonic() + server.timeout
    waits_for: str | None = None
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
        stop.wait(LOOK_EVERY)


def probe(server: Target) -> str | None:
    """What keeps a commit on this primary from getting through; None where one got through. It leaves no row."""
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
