"""Limits the memory of large bodies; at the limit the oldest incomplete request is refused."""

from agent.server.connection import ClientConnection, Phase

MOST = 32 * 1024 * 1024
"""Bytes of all large bodies together."""


class BodyMemory:
    """Reserves memory for large request bodies, up to `most` bytes in total."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._taken: dict[ClientConnection, int] = {}

    def take(self, connection: ClientConnection, size: int) -> None:
        """Reserve `size` bytes for the body of this connection's request."""
        self._taken[connection] = size

    def leave(self, connection: ClientConnection) -> None:
        """Free the bytes reserved for this connection, if any."""
        self._taken.pop(connection, None)

    def to_refuse(self, newest: ClientConnection) -> ClientConnection | None:
        """The connection to refuse to get below the limit: the oldest with an incomplete body, else `newest`.

        Normal clients send their body at once; an old incomplete body belongs to a slow client. None if all bodies fit,
        or if only one connection has a large body.
        """
        if len(self._taken) < 2 or sum(self._taken.values()) <= self._most:
            return None
        return next((each for each in self._taken if each.phase is Phase.REQUEST), newest)
