"""Hand over from a primary to one of its replicas by FAILOVER, without losing an acknowledged write.

FAILOVER stops writes, waits until the replica has everything, makes it the primary, and follows it. If the replica
does not catch up in time or does not take over, the server accepts writes again.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.redis import config, source as redis_source
from agent.datastores.redis.connection import exceptions
from agent.datastores.redis.rollback import OPTIONS
from agent.datastores.redis.source import Options, Source
from agent.datastores.redis.state import RedisState, Replica, address, look
from agent.datastores.replication_requests import Lag
from agent.plan import Plan, Would
from agent.util.poll import looks
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

NONE = "no-failover"


@dataclass(frozen=True, slots=True)
class HandoverFacts:
    """The present state of this primary and of the replica that takes over."""

    here: RedisState
    there: RedisState
    source: Source
    known_as: Replica | None


def plan_demote(datastore: Redis, primary: str) -> Plan:
    """What `demote` would do now."""
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
    source = datastore.source(primary, here, own)
    if here.in_step and here.source == source.address:
        return plan.nothing(f"this server follows {source.address} already")
    view = _view(here, source)
    if (refusal := _refusal(view, own)) is not None:
        return plan.refuse(*refusal)
    source.check_it_may_be_followed()
    lag = Lag(bytes=here.offset - view.there.offset)
    return Plan(
        Would.DISRUPT,
        f"this server would hand over to {source.address} and follow it",
        steps=[
            "stop writes",
            f"wait until {source.address} has everything: {lag.bytes} bytes are missing now",
            f"let {source.address} take over and follow it; otherwise accept writes again",
            "write this to the configuration files",
        ],
        warnings=[f"replica-priority of {source.address} is 0"] if view.there.priority == 0 else [],
        facts={"primary": source.address, "lag": asdict(lag), "offset": here.offset},
    )


def demote(datastore: Redis, primary: str, stop: Stop) -> dict[str, Any]:
    """Hand over and follow. Idempotent: called again, it waits for the running failover or is done."""
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
        before = config.get(client, *OPTIONS)
    source = datastore.source(primary, here, own)
    if here.failover == NONE and not here.is_replica:
        decision = plan_demote(datastore, primary)
        if decision.refusal is not None:
            raise DatastoreRefused(f"{decision.refusal.reason}; {decision.refusal.lifted_by}")
        _begin(datastore, _view(here, source))
    try:
        _await_handover(datastore, source, stop)
    except DatastoreError as error:
        raise DatastoreRefused(f"{error}; {_called_off(datastore, before)}") from error
    return _kept(datastore, source)


def _view(here: RedisState, source: Source) -> HandoverFacts:
    return HandoverFacts(here, source.look(), source, _known_as(here, source))


def _known_as(here: RedisState, source: Source) -> Replica | None:
    """The peer in this server's list of replicas, with the address in that list."""
    addresses = {source.address}
    with suppress(OSError):
        found = socket.getaddrinfo(source.host, source.port, type=socket.SOCK_STREAM)
        addresses |= {address(str(each[4][0]), source.port) for each in found}
    return next((each for each in here.replicas if each.address in addresses), None)


def _refusal(view: HandoverFacts, own: Options) -> tuple[str, str] | None:
    here, there, at = view.here, view.there, view.source.address
    if here.clustered:
        return "this server is part of a Redis Cluster", "use CLUSTER FAILOVER on the replica"
    if here.is_replica:
        return f"this server is no primary: it follows {here.source}", "run this action on the primary"
    if not there.is_replica or view.known_as is None or there.replid != here.replid:
        return f"{at} does not follow this server", "let it follow first, with replication.follow or resync_slave_db"
    if not view.known_as.online or not there.in_step:
        return f"{at} does not receive from this server now", "wait until it is in step, or resync it"
    if not there.read_only:
        return f"{at} accepts writes of its own (replica-read-only is no)", "make it read-only and resync it"
    if view.source.tls and own.get("tls-replication") != "yes":
        return f"{at} is configured with TLS, and this server replicates without", "set tls-replication, or the port"
    return None


def _begin(datastore: Redis, view: HandoverFacts) -> None:
    assert view.known_as is not None  # otherwise the plan is a refusal
    host, _, port = view.known_as.address.rpartition(":")
    milliseconds = int(datastore.settings.timeout * 1000)
    with datastore.client() as client:
        config.put(client, view.source.options())
        _send(client, "FAILOVER", "TO", host.strip("[]"), port, "TIMEOUT", str(milliseconds))


def _await_handover(datastore: Redis, source: Source, stop: Stop) -> None:
    """Wait until this server follows the peer. Redis aborts the failover after `datastore.timeout`."""
    for last in looks(2 * datastore.settings.timeout):
        with datastore.client() as client:
            state = look(client)
        if state.is_replica and state.source == source.address and state.in_step and state.failover == NONE:
            return
        if not state.is_replica and state.failover == NONE:
            raise DatastoreRefused(f"{source.address} did not catch up, or did not take over")
        if stop.requested and state.failover != "failover-in-progress" and not state.is_replica:
            raise DatastoreRefused(f"the handover was called off: {stop.reason}")
        if last:
            raise DatastoreUnreachable(f"{source.address} did not take over in time")


def _called_off(datastore: Redis, before: Options) -> str:
    """Abort the failover so that this server accepts writes again; returns a sentence about its state."""
    try:
        with datastore.client() as client:
            with suppress(exceptions().ResponseError):  # no failover is in progress
                _send(client, "FAILOVER", "ABORT")
            state = look(client)
            if state.is_replica:
                return f"this server follows {state.source}"
            config.put(client, before)
            return "this server accepts writes again"
    except DatastoreError as error:
        return f"it is unknown whether this server accepts writes: {error}"


def _kept(datastore: Redis, source: Source) -> dict[str, Any]:
    """Store the new roles in both configuration files; without access to the peer, its agent must do that."""
    with datastore.client() as client:
        state = look(client)
        members = {"handed_over_to": source.address, "offset": state.offset} | config.keep_or_note(client)
    try:
        with source.agent.client() as client:
            return members | {"peer": config.keep_or_note(client)}
    except DatastoreError:
        return members | {
            "peer": {"kept_in": None, "note": f"run promote_slave_db on {source.address} to keep its part"}
        }


def _send(client: Any, *words: str) -> None:
    client.execute_command(*words)
