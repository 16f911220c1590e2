"""The plan to end the replication of a Redis, with warnings about writes here and on its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import plan
from agent.datastores.base import DatastoreError
from agent.datastores.redis import config, source as redis_source
from agent.datastores.redis.promotion import ANSWERS_WITHIN, source_of
from agent.datastores.redis.source import Source
from agent.datastores.redis.state import look
from agent.plan import Plan, Would

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

WRITABLE = (
    "this server then accepts writes, because Redis is read-only only while it follows: keep clients away from it"
)


def plan_disable(datastore: Redis) -> Plan:
    """What `disable_replication` would do now: nothing if the server has neither a source nor replicas."""
    with datastore.client() as client:
        here, own = look(client), redis_source.own_options(client)
    if not here.is_replica and not here.replicas:
        return plan.nothing("this server follows no source already")
    if not here.is_replica:
        return plan.refuse("not a replica: this server is a primary", "run this action on a replica")
    source = source_of(datastore, here, own, ANSWERS_WITHIN)
    return Plan(
        Would.CHANGE,
        f"this server would no longer follow {source.address}, and accept writes",
        steps=["REPLICAOF NO ONE", "write this to the configuration file"],
        warnings=[WRITABLE, *_held_writes(source)],
        facts={"source": source.address},
    )


def _held_writes(source: Source) -> list[str]:
    """A warning if the source refuses writes without this replica."""
    try:
        with source.agent.client() as client:
            there = look(client)
            wanted = int(config.get(client, "min-replicas-to-write").get("min-replicas-to-write") or 0)
    except DatastoreError as error:
        return [
            f"it is unknown whether {source.address} needs this replica for its writes (min-replicas-to-write): {error}"
        ]
    left = sum(each.online for each in there.replicas) - 1
    if left >= wanted:
        return []
    return [
        f"{source.address} would refuse writes: min-replicas-to-write is {wanted} there, and {left} replicas remain"
    ]
