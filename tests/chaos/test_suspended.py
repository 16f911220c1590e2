"""SIGSTOP, then SIGCONT: the suspended executor continues as the only one, and the other agent has waited."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import (
    MARK,
    Clients,
    begun,
    complete,
    ids_by_seq,
    never_two_at_once,
    trace,
    whole,
    witness_environment,
)

CONFIG = """
[agent]
kinds = ["witness"]
[actions]
execute_interval = 0.2
finished_limit = 100000
"""


@contextmanager
def suspended(pids: set[int]) -> Iterator[None]:
    """Suspend these processes, and continue them at the end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: all(state(pid) == "T" for pid in pids), "they are stopped")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def all_of(agent: AgentProcess) -> set[int]:
    assert agent.process is not None
    return {agent.process.pid} | agent.workers()


@pytest.mark.parametrize(("what", "seconds"), [("the worker", 5.0), ("the whole agent", 10.0)])
def test_after_a_suspension_the_executor_continues_as_the_only_one(
    start_agent: StartAgent, tmp_path: Path, what: str, seconds: float
) -> None:
    environment = witness_environment(tmp_path, AGENT_DB=str(tmp_path / "agent.db"))
    first = start_agent(config=CONFIG, env=environment)
    eventually(lambda: "executes the queue" in first.log_text(), "the first executes")
    second = start_agent(config=CONFIG, env=environment)
    before = [first.schedule(MARK, {"steps": 4, "pause": 0.1}) for _ in range(3)]
    eventually(lambda: len(trace(tmp_path)) >= 2, "it runs")
    with suspended(first.workers() if what == "the worker" else all_of(first)):
        seen = trace(tmp_path)
        clients = Clients(second)
        clients.start(2, 8)
        begin = time.monotonic()
        eventually(lambda: time.monotonic() - begin > seconds, "a long time is over", seconds + 5)
        assert len(second.queue()) >= len(before), "it answers"
        assert trace(tmp_path) == seen, "somebody else ran a step of the suspended agent's queue"
    clients.join(60)
    eventually(lambda: not second.queue(), "the queue is empty", 60)
    order = ids_by_seq(tmp_path / "agent.db")
    assert sorted(order) == sorted(before + clients.answered)
    assert begun(tmp_path) == order
    assert never_two_at_once(trace(tmp_path))
    assert "interrupted" not in {line.what for line in trace(tmp_path)}
    assert all(complete(first.info(action_id)) for action_id in order)
    assert "this process executes the queue" not in second.whole_log()
    assert whole(tmp_path / "agent.db")
