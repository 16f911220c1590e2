"""The proof that one Redis takes writes: one that gets through and leaves nothing."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from agent.datastores.redis_connection import exceptions
from agent.datastores.redis_state import look

if TYPE_CHECKING:
    from agent.datastores.redis import Redis

PREFIX = "agent:probe:"
"""Of the keys that the agent must be allowed to set and delete."""


def may_probe(client: Any) -> str | None:
    """Why the agent would not be allowed to write the probe; None where it would be. Writes nothing.

    Redis checks permissions, and refuses the writes of a replica, as it queues the commands of a transaction.
    """
    try:
        _queue(client, "DISCARD")
    except exceptions().NoPermissionError as error:
        return str(error)
    except exceptions().ResponseError:
        return None
    return None


def held_by(datastore: Redis) -> str | None:
    """What keeps a write from getting through, in the words of Redis; None: one got through and left nothing."""
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
            single.connection.disconnect()  # which is in the middle of a transaction
            raise


def _explained(client: Any, error: str) -> str:
    """A refusal for want of replicas names no numbers."""
    if "NOREPLICAS" not in error and "enough good replicas" not in error:
        return error
    wanted = client.config_get("min-replicas-to-write").get("min-replicas-to-write")
    online = sum(each.online for each in look(client).replicas)
    return f"min-replicas-to-write is {wanted}, and {online} replicas are connected"
