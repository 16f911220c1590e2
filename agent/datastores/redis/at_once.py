"""Resync of a Redis in the agent, within a second: the start of a job takes longer than a small copy.

    begin ── its result is stored ──▶ carry_out ── in step ──▶ the result
                                          └── not yet, or an error ──▶ the job (resync.py) continues, or decides again

The job does each resync that changes the login of Redis: a rollback needs the old password, which is not stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent import clock
from agent.datastores.redis import config, source as redis_source
from agent.datastores.redis.plan import decide
from agent.datastores.redis.resync import commands_of, members_of, run_in_transaction
from agent.datastores.redis.rollback import Rollback
from agent.datastores.redis.state import look
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Would
from agent.util.poll import poll

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

PATIENCE = 0.5
"""Timeout, in seconds, of each answer and of the wait until the server is in step."""
FRESH = 2.0
"""Seconds for which a decision is valid: later, the job decides again."""
Begun = dict[str, Any]


def begin(here: Redis, request: ResyncRequest) -> Begun | None:
    """The decision and its rollback, as JSON; None if the job must do the resync. Raises `DatastoreError`."""
    with here.client() as client:
        state, own = look(client), redis_source.own_options(client)
    if state.loading or state.copying:
        return None
    decision = decide(here, request)
    source = decision.source
    if source is None or decision.plan.would is Would.NOTHING or state.source == source.address:
        return None
    if any(own.get(name, "") != value for name, value in source.options().items()):
        return None
    return {
        "members": members_of(decision, source),
        "commands": commands_of(decision, source),
        "way_back": Rollback.of(here, source.address).as_json(),
        "decided": clock.monotonic(),
    }


def carry_out(here: Redis, begun: Begun) -> dict[str, Any] | None:
    """Make the server follow its primary, unless it does already.

    Returns the members of the result; None: not in step yet, or the decision is outdated. Raises `DatastoreError`.
    """
    rollback = Rollback.of_json(here, begun["way_back"])

    def in_step() -> bool:
        with here.client() as client:
            state = look(client)
        return state.in_step and state.source == rollback.target

    with here.client() as client:
        source = look(client).source
        if source != rollback.target:
            if source != rollback.before.source or clock.monotonic() > begun["decided"] + FRESH:
                return None
            run_in_transaction(client, begun["commands"])
    if not poll(in_step, PATIENCE):
        return None
    with here.client() as client:
        rollback.end_of_copy(client)
        return {**begun["members"], **config.keep_or_note(client)}
