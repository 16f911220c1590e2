"""(c) Actions executed per second, compared with the same statements in a bare sqlite3 loop."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from bench import rows
from bench.bare_loop import drained_per_second
from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target, compared
from bench.server import agent

ACTIONS = 2000


def measure(bench: Bench) -> list[Row]:
    """Each round drains the queue of a new agent, and a copy of its database by the bare loop."""
    agents: list[float] = []
    bare: list[float] = []
    for number in range(bench.rounds):
        bench.say(f"c: round {number + 1} of {bench.rounds}")
        copy = bench.new_directory("bare") / "agent.db"
        agents.append(_agent_drains(bench, copy))
        bare.append(drained_per_second(copy))
    target = Target("ratio", ">=", 0.5)
    return [compared("c", f"draining {ACTIONS} actions", "/s", agents, bare, target)]


def _agent_drains(bench: Bench, copy: Path) -> float:
    """Fill the queue behind a running action, copy the database, cancel that action and measure the drain."""
    with (
        agent(bench) as server,
        rows.opened(server.database) as connection,
        closing(Client(server.port)) as client,
    ):
        head = client.hold_queue()
        for _ in range(ACTIONS):
            client.schedule(SUCCESS, {})
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
        client.cancel(head)
        wait_for(lambda: rows.unfinished(connection) == 0, 60, "the queue to drain", every=0.25)
        return (ACTIONS - 1) / rows.seconds_of_finishing(connection)
