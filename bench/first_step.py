"""(b) The time from the answer of a schedule call on an idle agent to the action's first step."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from statistics import median, quantiles

from bench import rows
from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target
from bench.server import agent

CALLS = 300
GAP_SECONDS = (0.02, 0.12)


def measure(bench: Bench) -> list[Row]:
    """300 calls, each after a pause in which the agent has nothing to do."""
    bench.say(f"b: {CALLS} calls")
    with (
        agent(bench) as server,
        rows.opened(server.database) as connection,
        closing(Client(server.port)) as client,
    ):
        _first_step(client, connection)
        times = [_first_step(client, connection) for _ in range(CALLS)]
    claimed, returned = ([pair[end] for pair in times] for end in (0, 1))
    return [
        _row("median", median(claimed), 5, claimed),
        _row("p99", _p99(claimed), 15, claimed),
        # The claim is timed before its commit, the end after the step: the true time is between them.
        Row("b", "answer to the step's end, p99", _p99(returned), "ms"),
    ]


def _row(name: str, value: float, bound: float, behind: list[float]) -> Row:
    target = Target("value", "<", bound, "ms")
    return Row("b", f"answer to first step, {name}", value, "ms", None, target, {"agent": behind})


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98]


def _first_step(client: Client, connection: sqlite3.Connection) -> tuple[float, float]:
    """Milliseconds from the answer to the claim and to the end; 0 for events before the answer."""
    time.sleep(random.uniform(*GAP_SECONDS))
    action = client.schedule(SUCCESS, {})
    answered = time.time()
    wait_for(lambda: rows.unfinished(connection) == 0, 10, "the action to finish")
    running, done = (rows.reached(connection, action, state) for state in ("RUNNING", "DONE"))
    return max(0.0, (running - answered) * 1000), max(0.0, (done - answered) * 1000)
