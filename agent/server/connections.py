"""All connections of the worker; at the limit, chooses one to close."""

import time
from collections import Counter
from collections.abc import Iterator

from agent import log
from agent.server.connection import ClientConnection, Phase

FRESH = 1.0
"""Seconds for which a new connection without a request is spared while idle kept connections can be closed."""


class ConnectionLimit:
    """The open connections: at most `most`, and at most half of that from one address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_a_peer = most // 2
        self._connections: set[ClientConnection] = set()
        self._of_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[ClientConnection]:
        """Iterates over a copy, so that connections may be removed during the iteration."""
        return iter(list(self._connections))

    def __contains__(self, connection: ClientConnection) -> bool:
        return connection in self._connections

    def add(self, connection: ClientConnection) -> None:
        """Count a new connection."""
        self._connections.add(connection)
        self._of_peer[connection.peer] += 1

    def remove(self, connection: ClientConnection) -> None:
        """Stop counting a closed connection."""
        self._connections.discard(connection)
        self._of_peer[connection.peer] -= 1
        if not self._of_peer[connection.peer]:
            del self._of_peer[connection.peer]

    def has_room(self, peer: str) -> bool:
        """Whether another connection from the address `peer` is within both limits."""
        return len(self) < self._most and self._of_peer[peer] < self._most_of_a_peer

    def to_close(self, peer: str) -> ClientConnection | None:
        """The connection to close for a new one of `peer`: its own if `peer` is at its limit, else the largest peer's.

        None if threads use all of them.
        """
        if self._of_peer[peer] < self._most_of_a_peer:
            peer = max(self._of_peer, key=self._of_peer.__getitem__)
        log.connections_closed(peer, self._of_peer[peer])
        return self.longest_waiting(peer)

    def longest_waiting(self, peer: str | None = None) -> ClientConnection | None:
        """The connection that has waited longest for its client, by `_rank`; None if threads use all of them."""
        waiting = [each for each in self._connections if each.phase is not Phase.THREAD and peer in (None, each.peer)]
        now = time.monotonic()
        return min(waiting, key=lambda each: (_rank(each, now), each.since), default=None)


def _rank(connection: ClientConnection, now: float) -> int:
    """The order of closing, lowest first: silent clients, idle kept connections, new and active ones, parked ones."""
    if connection.phase is Phase.PARKED:
        return 3
    if connection.phase is Phase.ANSWER:
        return 2
    if connection.answered:
        return 1
    # On a busy machine, some time may pass between a client's connect and its request.
    return 0 if now - connection.since >= FRESH else 2
