"""(a) Durable schedule calls per second, compared with a POST to a Flask application that does nothing."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from bench import rows
from bench.client import Client
from bench.figure import Bench, Row, Target, Unmeasured, compared
from bench.load import CONNECTIONS, load
from bench.server import Server, agent, noop

SECONDS = 4


def measure(bench: Bench) -> list[Row]:
    """Rounds of the no-op, of an agent with its queue blocked, and of one that executes at the same time."""
    reference: list[float] = []
    held: list[float] = []
    draining: list[float] = []
    with noop(bench) as plain, agent(bench) as holding:
        with closing(Client(holding.port)) as client:
            client.hold_queue()
        warm_up(plain)
        calls = warm_up(holding)
        for number in range(bench.rounds):
            bench.say(f"a: round {number + 1} of {bench.rounds}")
            reference.append(load(plain.port, SECONDS).per_second)
            seen = load(holding.port, SECONDS)
            calls += seen.answered
            held.append(seen.per_second)
            draining.append(_while_draining(bench))
        bench.say("a: every answered call is a row")
        _check_the_count(holding, calls, bench.rounds + 1)
        _check_each_id(holding, bench.new_directory("answers"))
    return [
        compared("a", "durable schedule calls", "/s", held, reference, Target("ratio", ">=", 0.65)),
        compared("a", "the same while the queue drains", "/s", draining, reference),
    ]


def warm_up(server: Server) -> int:
    """Let every thread of a server serve once; returns the number of calls."""
    return load(server.port, 1).answered


def _while_draining(bench: Bench) -> float:
    # A new agent each time: one that is still draining would disturb the next round.
    with agent(bench) as server:
        warm_up(server)
        return load(server.port, SECONDS).per_second


def _check_the_count(server: Server, answered: int, loads: int) -> None:
    """Check that each answer has a row; a call whose answer wrk did not await may have left one more."""
    with rows.opened(server.database) as connection:
        found = rows.successes(connection)
    if not answered <= found <= answered + loads * CONNECTIONS:
        raise Unmeasured(f"{answered} calls were answered with 200, {found} rows are in the file")


def _check_each_id(server: Server, answers: Path) -> None:
    """Check that each id answered in another load, which is not measured, has a row."""
    seen = load(server.port, 1, answers)
    bodies = [line for file in answers.iterdir() for line in file.read_text().splitlines()]
    answered = {json.loads(body)["id"] for body in bodies}
    with rows.opened(server.database) as connection:
        missing = answered - rows.ids(connection)
    if missing or len(answered) < seen.answered:
        raise Unmeasured(
            f"{seen.answered} calls answered, {len(answered)} different ids, {len(missing)} of them without a row"
        )
