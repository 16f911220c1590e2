"""Promote a PostgreSQL: check the obstacles, catch up, promote, prove that a commit completes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agent.config import DatastoreSettings
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
from agent.datastores.postgresql.promotion_decision import PromotionFacts, decide, limit_exceeded
from agent.datastores.postgresql.readiness import held_by
from agent.datastores.postgresql.rivals import ahead_of, upstream_of
from agent.datastores.postgresql.slot import drop_slot
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.models import Json
from agent.plan import Plan
from agent.util.poll import looks, pause_after
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


def plan(settings: DatastoreSettings, server: Target, request: PromoteRequest) -> Plan:
    """What `promote` would do now."""
    return decide(look(settings, server), request)


def promote(settings: DatastoreSettings, server: Target, stop: Stop, request: PromoteRequest) -> Json:
    """Promote this replica and wait until it accepts writes. Returns the members of the result."""
    seen = look(settings, server, ANSWERS_BEFORE_ACTING)
    decided = decide(seen, request)
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


def look(settings: DatastoreSettings, server: Target, timeout: float = ANSWERS_WITHIN) -> PromotionFacts:
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
    """The old primary; `unreachable` if a server of another cluster is at its address now."""
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


def _catch_up(
    settings: DatastoreSettings, server: Target, stop: Stop, request: PromoteRequest, seen: PromotionFacts
) -> PromotionFacts:
    """Wait until nothing is missing, the source stops sending, or `request.wait` is over. Raises `DatastoreRefused`."""
    began = time.monotonic()
    while seen.streaming and seen.lag.bytes != 0 and (waited := time.monotonic() - began) < request.wait:
        if stop.wait(min(pause_after(waited), request.wait - waited)):
            raise DatastoreRefused(f"cancelled while this server caught up; nothing is changed: {stop.reason}")
        seen = _look_again(settings, server, seen)
    if (exceeded := limit_exceeded(seen.lag, request)) is not None:
        raise DatastoreRefused(f"after {request.wait:g} s {exceeded}")
    return seen


def _look_again(settings: DatastoreSettings, server: Target, seen: PromotionFacts) -> PromotionFacts:
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
    for last in looks(server.timeout, stop):
        with server.connect() as connection:
            if not one(connection, "SELECT pg_is_in_recovery()"):
                return
            row = connection.execute(STARTUP).fetchone()
            waits_for = row[0] if row else None
        if last:
            why = stop.reason or f"timeout of {server.timeout:g} s (datastore.timeout)"
            message = f"PostgreSQL at {server.address} is not a primary yet, and may still become one: {why}"
            raise OutcomeUnknown(message, waits_for)


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
