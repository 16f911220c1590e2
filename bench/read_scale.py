"""(d) Reads and one execution with a million finished actions, compared with a thousand."""

from __future__ import annotations

import random
import time
from contextlib import closing

from bench import rows
from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target, compared
from bench.fill import filled_database
from bench.server import Server, agent

FEW, MANY = 1_000, 1_000_000
REQUESTS = 600
WARM_UP = 100
QUEUED = 20
EXECUTIONS = 40
RATIO = Target("ratio", "<=", 1.2)


def measure(bench: Bench) -> list[Row]:
    """Read from two agents in turn, each over one kept connection."""
    bench.say(f"d: filling a database with {MANY:,} finished actions")
    many = filled_database(bench, MANY)
    few = filled_database(bench, FEW)
    with agent(bench, database=many) as large, agent(bench, database=few) as small:
        bench.say("d: executing, then reading")
        executed = _compare_executions(large, small)
        with closing(Reader(large)) as many_reader, closing(Reader(small)) as few_reader:
            reads = [_compare(name, many_reader, few_reader) for name in ("finished", "queue", "info")]
            scrape = _compare("metrics", many_reader, few_reader, Target("value", "<=", 10, "ms"))
    return [*reads, scrape, executed]


class Reader:
    """The kept connection to one agent, and its measured requests."""

    def __init__(self, server: Server) -> None:
        self.client = Client(server.port)
        self.client.hold_queue()
        for _ in range(QUEUED):
            self.client.schedule(SUCCESS, {})
        with rows.opened(server.database) as connection:
            self.ids = rows.some_finished_ids(connection, REQUESTS)

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def milliseconds(self, name: str) -> float:
        """The time of one read; for info, of an action anywhere in the table."""
        path = f"/info/{random.choice(self.ids)}" if name == "info" else f"/{name}"
        start = time.perf_counter()
        if name == "metrics":
            self.client.scrape()
        else:
            self.client.read("GET", path)
        return (time.perf_counter() - start) * 1000


def _compare(name: str, large: Reader, small: Reader, target: Target = RATIO) -> Row:
    for reader in (large, small) * WARM_UP:
        reader.milliseconds(name)
    times: tuple[list[float], list[float]] = [], []
    for _ in range(REQUESTS):
        times[0].append(large.milliseconds(name))
        times[1].append(small.milliseconds(name))
    return compared("d", f"{name}, {MANY:,} finished against {FEW:,}", "ms", *times, target=target)


def _compare_executions(large: Server, small: Server) -> Row:
    times: tuple[list[float], list[float]] = [], []
    for _ in range(EXECUTIONS):
        for server, taken in zip((large, small), times, strict=True):
            taken.append(_execution_milliseconds(server))
    return compared("d", f"one action from its schedule to its end, {MANY:,} against {FEW:,}", "ms", *times)


def _execution_milliseconds(server: Server) -> float:
    with rows.opened(server.database) as connection, closing(Client(server.port)) as client:
        # Measured here, because the timestamps in the database do not include the last commit.
        start = time.perf_counter()
        client.schedule(SUCCESS, {})
        wait_for(lambda: rows.unfinished(connection) == 0, 30, "the action to end", every=0.001)
        return (time.perf_counter() - start) * 1000
