"""Limits the memory of large bodies; at the limit the oldest incomplete request is refused."""

from agent.server.connection import ClientConnection, Phase

MOST = 32 * 1024 * 1024
"""Bytes of all large bodies together."""


class BodyMemory:
    """The connections whose requests have a large body, the oldest first, with the bytes that each may take."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._taken: dict[ClientConnection, int] = {}

    def take(self, connection: ClientConnection, size: int) -> None:
        """Reserve `size` bytes for the body of this connection's request."""
        self._taken[connection] = size

    def leave(self, connection: ClientConnection) -> None:
        """The body of its request, if it had a large one, is not in memory any more."""
        self._taken.pop(connection, None)

    def one_to_go(self, wanting: ClientConnection) -> ClientConnection | None:
        """Whose request is refused so that `wanting` has room: the oldest with an incomplete body, else `wanting`.

        A good client sends its body at once, so an old body that is incomplete is a slow client's. None where there is
        room, or where one connection has it all.
        """
        if len(self._taken) < 2 or sum(self._taken.values()) <= self._most:
            return None
        return next((each for each in self._taken if each.phase is Phase.REQUEST), wanting)
