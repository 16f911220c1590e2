"""Sixteen clients schedule while the queue runs: in order, one at a time, with every state shown correctly."""

import threading
import time
from pathlib import Path

import pytest

from tests.agent_process import FINAL, AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import (
    CONFIG,
    Clients,
    complete,
    ids_by_seq,
    never_two_at_once,
    seeded,
    trace,
    whole,
    witness_environment,
)

CLIENTS, CALLS = 16, 32


class Reader:
    """Reads queue and finished continuously and records contradictions."""

    def __init__(self, agent: AgentProcess, clients: Clients, by_seq: Path) -> None:
        self.agent, self.clients, self.db = agent, clients, by_seq
        self.wrong: list[str] = []
        self.reads = 0
        self.queues: list[list[str]] = []
        self.finished: list[list[str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            self._read(queue_first=self.reads % 2 == 0)
            self.reads += 1
            time.sleep(0.01)

    def _read(self, *, queue_first: bool) -> None:
        answered = set(self.clients.answered)
        if queue_first:
            queue, finished = self.agent.queue(), self.agent.finished()
            lost = answered - {each["id"] for each in queue + finished}
        else:
            before, queue = self.agent.finished(), self.agent.queue()
            lost = answered - {each["id"] for each in before + queue}
            # An action in neither list ended between the two reads, or was lost.
            finished = self.agent.finished()
            lost -= {each["id"] for each in finished}
        if lost:
            self.wrong.append(f"in neither list: {lost}")
        self._look_at(queue, finished)

    def _look_at(self, queue: list[dict[str, str]], finished: list[dict[str, str]]) -> None:
        states = [each["state"] for each in queue]
        if "RUNNING" in states[1:] or not set(states) <= {"NEW", "RUNNING"}:
            self.wrong.append(f"the queue shows {states}")
        if not {each["state"] for each in finished} <= set(FINAL):
            self.wrong.append(f"finished shows {finished}")
        self.queues.append([each["id"] for each in queue])
        self.finished.append([each["id"] for each in finished])


@pytest.mark.parametrize("steps", [1, 2])
def test_load_is_executed_in_the_order_of_seq_and_never_two_at_once(
    start_agent: StartAgent, tmp_path: Path, steps: int
) -> None:
    random = seeded()
    agent = start_agent(config=CONFIG, env=witness_environment(tmp_path))
    clients = Clients(agent, args=lambda: {"steps": steps, "pause": random.choice([0, 0, 0.003])})
    with Reader(agent, clients, agent.db) as reader:
        clients.start(CLIENTS, CALLS // steps)
        clients.join(60)
        eventually(lambda: len(agent.finished()) == len(clients.answered), "all are final", 60)
    order = ids_by_seq(agent.db)
    lines = trace(tmp_path)
    assert clients.wrong == []
    assert len(set(clients.answered)) == CLIENTS * CALLS // steps
    assert sorted(order) == sorted(clients.answered)
    assert [line.action_id for line in lines if (line.what, line.number) == ("begin", 1)] == order
    assert len(lines) == 2 * steps * len(order)
    assert never_two_at_once(lines)
    assert reader.wrong == []
    assert reader.reads > 20
    place = {action_id: number for number, action_id in enumerate(order)}
    for queue in reader.queues:
        assert queue == sorted(queue, key=lambda each: place[each]), "the queue is in the order of execution"
    for finished in reader.finished:
        assert finished == order[: len(finished)][::-1], "finished is the newest first, with no gap"
    assert all(complete(agent.info(action_id)) for action_id in order)
    assert whole(agent.db)
