"""Limits the memory of large bodies; at the limit the oldest incomplete request is refused."""

from agent.server.connection import ClientConnection, Phase

MOST = 32 * 1024 * 1024
"""Bytes of all large bodies together."""


class BodyMemory:
    """Counts the bytes that the large bodies of requests may take; `most` in all."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._taken: dict[ClientConnection, int] = {}

    def take(self, connection: ClientConnection, size: int) -> None:
        """Reserve `size` bytes for the body of this connection's request."""
        self._taken[connection] = size

    def leave(self, connection: ClientConnection) -> None:
        """Free the bytes reserved for this connection, if any."""
        self._taken.pop(connection, None)

    def one_to_go(self, wanting: ClientConnection) -> ClientConnection | None:
        """The connection to refuse so that the rest fits: the oldest with an incomplete body, else `wanting`.

        A good client sends its body at once, so an old body that is incomplete is a slow client's. None if all fit, or
        if one connection alone has a large body.
        """
        if len(self._taken) < 2 or sum(self._taken.values()) <= self._most:
            return None
        return next((each for each in self._taken if each.phase is Phase.REQUEST), wanting)
