"""Clients that send their requests slowly, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS

THREADS = 8
LIMIT = 30
"""Seconds after which the agent ends the request of a slow client."""
WHOLE = f"GET {PREFIX}/queue HTTP/1.1\r\nHost: localhost\r\n"
HEADERS = f"POST {PREFIX}/schedule/{SUCCESS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = {
    "a request line that never ends": b"GET /" + b"a" * 20,
    "headers that never end": WHOLE.encode(),
    "less than its Content-Length": f"{HEADERS}Content-Length: 100\r\n\r\n{{".encode(),
    "a chunk that never ends": f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n5\r\n{{".encode(),
    "no last chunk": f"{HEADERS}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n".encode(),
    "a body that nobody reads": f"{WHOLE}Content-Length: 100\r\n\r\n{{".encode(),
}


class Slow:
    """As many clients as the agent has threads; after some bytes they send single bytes, or nothing."""

    def __init__(self, agent: AgentProcess, sent: bytes, *, drips: bool, clients: int = THREADS) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", agent.port), timeout=60) for _ in range(clients)]
        self._ended = threading.Event()
        for each in self.sockets:
            each.sendall(sent)
        self._dripping = threading.Thread(target=self._drip) if drips else None
        if self._dripping:
            self._dripping.start()

    def _drip(self) -> None:
        left = set(self.sockets)
        while left and not self._ended.wait(0.2):
            for each in list(left):
                try:
                    each.sendall(b" ")
                except OSError:
                    left.discard(each)

    def close(self) -> None:
        self._ended.set()
        if self._dripping:
            self._dripping.join()
        for each in self.sockets:
            each.close()


@contextmanager
def slow_clients(agent: AgentProcess) -> Iterator[Callable[..., Slow]]:
    """Begin slow clients with the options of `Slow`; they are closed at the end."""
    with ExitStack() as stack:

        def begin(sent: bytes, **options: object) -> Slow:
            begun = Slow(agent, sent, **options)  # type: ignore[arg-type]
            stack.callback(begun.close)
            return begun

        yield begin
