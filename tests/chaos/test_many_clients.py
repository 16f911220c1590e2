"""Sixty-four concurrent clients: every call is answered, and memory and descriptors do not grow."""

import os
import random
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.agent_process import FINAL, AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import SEED, whole

CLIENTS = 64
SECONDS = float(os.environ.get("CHAOS_SECONDS", "24"))
WARM_UP = 0.3  # of these seconds
CONFIG = """
[actions]
prune_interval = 1
prune_keep = 200
"""


class Client:
    """Schedules an action after the previous one is final, and reads in between."""

    def __init__(self, agent: AgentProcess, number: int) -> None:
        self.agent = agent
        self.random = random.Random(SEED + number)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        connection = self.agent.connect(30)
        while not self.over.is_set():
            try:
                self.round(connection)
            except (OSError, HTTPException) as error:
                self.wrong.append(repr(error))
                return
        connection.close()

    def round(self, connection: HTTPConnection) -> None:
        count = self.random.randint(1, 3)
        scheduled = self.agent.post_schedule(
            "replicante.test.ping", {"count": count}, connection=connection, timeout=30
        )
        self.note(scheduled.status)
        while scheduled.status == 200 and not self.over.is_set():
            info = self.agent.get_info(scheduled.json["id"], connection=connection)
            self.note(info.status)
            # Pruned already: then it was final.
            if info.status == 404 or info.json["action"]["state"] in FINAL:
                break
            for route in ("queue", "finished"):
                self.note(self.agent.get(f"/api/unstable/actions/{route}", connection=connection).status)
            self.over.wait(self.random.random() * 0.2)

    def note(self, status: int) -> None:
        self.statuses[status] += 1
        if status not in (200, 404):
            self.wrong.append(str(status))


def proportional_kilobytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0])


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.usefixtures("cold_agents")
def test_sixty_four_clients_are_served_without_growth_of_memory_or_descriptors(start_agent: StartAgent) -> None:
    agent = start_agent(config=CONFIG)
    [worker] = agent.workers()
    clients = [Client(agent, number) for number in range(CLIENTS)]
    try:
        after(SECONDS * WARM_UP)
        warm, opened = proportional_kilobytes(worker), descriptors(worker)
        after(SECONDS * (1 - WARM_UP))
        grown, still_opened = proportional_kilobytes(worker), descriptors(worker)
    finally:
        for client in clients:
            client.over.set()
        for client in clients:
            client.thread.join(60)
    answered = sum((client.statuses for client in clients), Counter[int]())
    print(f"{answered}; {warm} kB, then {grown} kB; {opened} descriptors, then {still_opened}")
    assert [each for client in clients for each in client.wrong] == []
    assert answered[200] > 50 * SECONDS
    assert grown <= 1.2 * warm
    assert still_opened <= opened + 2
    assert agent.workers() == {worker}
    assert "locked" not in agent.whole_log()
    assert "Traceback" not in agent.whole_log()
    assert whole(agent.db)


def after(seconds: float) -> None:
    begin = time.monotonic()
    eventually(lambda: time.monotonic() - begin > seconds, "time is over", seconds + 5)
