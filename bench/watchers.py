"""(h) The cost of callers that watch the list of actions: processor time when idle, and slower schedule calls."""

from __future__ import annotations

import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bench.client import PREFIX, SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target, compared
from bench.footprint import processor_seconds
from bench.server import Server, agent

WATCHERS = 100
SETTLE_SECONDS = 5
IDLE_SECONDS = 20
CALLS = 100
PAUSE = 0.1
"""Seconds between two schedule calls: the queue is busy, and the watchers are answered between the calls."""
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
TAG = re.compile(rb"etag: (\S+)", re.IGNORECASE)


def measure(bench: Bench) -> list[Row]:
    """Compare two agents, one of them with watchers."""
    with agent(bench) as watched, agent(bench) as alone, watching(watched, WATCHERS):
        bench.say(f"h: {IDLE_SECONDS} idle seconds with {WATCHERS} watchers, then {CALLS} schedule calls")
        time.sleep(SETTLE_SECONDS)
        before, start = processor_seconds(watched), time.monotonic()
        time.sleep(IDLE_SECONDS)
        percent = 100 * (processor_seconds(watched) - before) / (time.monotonic() - start)
        times: tuple[list[float], list[float]] = [], []
        with closing(Client(watched.port)) as first, closing(Client(alone.port)) as second:
            for _ in range(CALLS):
                for client, taken in zip((first, second), times, strict=True):
                    taken.append(schedule_milliseconds(client))
                time.sleep(PAUSE)
    idle = Row(
        "h", f"processor with {WATCHERS} watchers of list", percent, "% of a core", target=Target("value", "<", 1, "%")
    )
    return [idle, compared("h", "schedule, watched and not", "ms", *times, target=Target("ratio", "<=", 1.2))]


def schedule_milliseconds(client: Client) -> float:
    """The time of one call."""
    start = time.perf_counter()
    client.schedule(SUCCESS, {})
    return (time.perf_counter() - start) * 1000


@contextmanager
def watching(server: Server, count: int, path: str = f"{PREFIX}/list", pause: float = 0.0) -> Iterator[None]:
    """`count` callers that wait for the next version of `path`, one connection each, all in one thread.

    `pause`: seconds between an answer and the next request of each caller.
    """
    over = threading.Event()
    watchers = [Watcher(server.port, path, pause) for _ in range(count)]
    thread = threading.Thread(target=_serve, args=(watchers, over))
    thread.start()
    try:
        wait_for(lambda: all(each.asked > 1 for each in watchers), 30, "the watchers to wait")
        yield
    finally:
        over.set()
        thread.join()
        for each in watchers:
            each.socket.close()


class Watcher:
    """One caller, which requests the next version with the ETag of each answer."""

    def __init__(self, port: int, path: str, pause: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._path, self._pause = path, pause
        self._received, self._next, self._due = b"", b"", float("inf")
        self.asked = 0
        self._ask(b"")

    def receive(self) -> None:
        """Read the received bytes; after a complete answer send the next request."""
        self._received += self.socket.recv(1 << 20)
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            found = TAG.search(head)
            assert found is not None, head
            self._received = b""
            self._next = b"If-None-Match: " + found[1] + b"\r\nPrefer: wait=60\r\n"
            self._due = time.monotonic() + self._pause
            self.ask_again()

    def ask_again(self) -> None:
        """Request the next version once the pause is over."""
        if time.monotonic() >= self._due:
            self._due = float("inf")
            self._ask(self._next)

    def _ask(self, headers: bytes) -> None:
        self.asked += 1
        self.socket.sendall(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode() + headers + b"\r\n")


def _serve(watchers: list[Watcher], over: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for each in watchers:
            selector.register(each.socket, selectors.EVENT_READ, each)
        while not over.is_set():
            for key, _ in selector.select(0.1):
                key.data.receive()
            for each in watchers:
                each.ask_again()
