"""Prove that one Redis accepts writes, with a write that leaves no key."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from agent.datastores.redis.connection import exceptions
from agent.datastores.redis.state import look

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

PREFIX = "agent:probe:"
"""Prefix of the probe's keys, which the agent must be permitted to set and delete."""


def may_probe(client: Any) -> str | None:
    """The reason why the agent may not write the probe, or None. Writes nothing.

    Redis checks permissions, and refuses writes on a replica, when it queues the commands of a transaction.
    """
    try:
        _queue(client, "DISCARD")
    except exceptions().NoPermissionError as error:
        return str(error)
    except exceptions().ResponseError:
        return None
    return None


def held_by(datastore: Redis) -> str | None:
    """The error of Redis for a test write; None: the write succeeded and left no key."""
    with datastore.client() as client:
        try:
            _queue(client, "EXEC")
        except exceptions().NoPermissionError as error:
            return f"not known: the agent may not write a probe ({error})"
        except exceptions().ResponseError as error:
            return _explained(client, str(error))
    return None


def _queue(client: Any, end: str) -> None:
    key = PREFIX + secrets.token_hex(8)
    with client.client() as single:
        try:
            for words in (["MULTI"], ["SET", key, "", "PX", "1000"], ["DEL", key], [end]):
                single.execute_command(*words)
        except exceptions().ResponseError:
            single.connection.disconnect()  # it has an open transaction
            raise


def _explained(client: Any, error: str) -> str:
    """Add the numbers to a refusal because of missing replicas, which has none."""
    if "NOREPLICAS" not in error and "enough good replicas" not in error:
        return error
    wanted = client.config_get("min-replicas-to-write").get("min-replicas-to-write")
    online = sum(each.online for each in look(client).replicas)
    return f"min-replicas-to-write is {wanted}, and {online} replicas are connected"
