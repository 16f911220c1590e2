"""SIGKILL under load, of the worker and of the whole agent: no action is lost, and none is repeated silently."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import (
    CONFIG,
    Clients,
    begun,
    complete,
    ids_by_seq,
    never_two_at_once,
    seeded,
    single_unless_resumed,
    trace,
    whole,
    witness_environment,
)

KILLS = {"worker_killed": 176, "agent_killed": 24}


def worker_killed(agent: AgentProcess) -> None:
    agent.kill_worker()


def agent_killed(agent: AgentProcess) -> None:
    agent.kill_all()
    agent.start()


@pytest.mark.parametrize("kill", [worker_killed, agent_killed])
def test_accepted_actions_run_once_and_in_order_across_kills(
    start_agent: StartAgent, tmp_path: Path, kill: Any
) -> None:
    random, kills = seeded(), KILLS[kill.__name__]
    agent = start_agent(config=CONFIG, env=witness_environment(tmp_path))
    clients = Clients(agent, args=lambda: {"steps": random.choice([1, 2]), "pause": 0.01}, pause=0.05)
    clients.start(4, 1_000_000)
    try:
        for _ in range(kills):
            await_steps(tmp_path, random.choice([0, 0, 4]))
            time.sleep(random.random() * 0.05)
            kill(agent)
    finally:
        clients.over.set()
        clients.join(60)
    eventually(lambda: not agent.queue(), "the queue is empty", 60)
    assert clients.wrong == [], "a call was answered with something else than 200"
    order = ids_by_seq(agent.db)
    assert sorted(order) == sorted(clients.answered), "each accepted call is one action, and no other was made"
    assert all(complete(agent.info(action_id)) for action_id in order)
    assert {each["state"] for each in agent.finished()} == {"DONE"}
    assert 0 < single_unless_resumed(trace(tmp_path)) <= kills
    assert begun(tmp_path) == order
    assert never_two_at_once(trace(tmp_path))
    assert whole(agent.db)


def await_steps(directory: Path, count: int) -> None:
    """Wait until this many further lines are noted: the queue is drained again."""
    seen = noted(directory)
    eventually(lambda: noted(directory) > seen + count, "the queue is drained again", 60)


def noted(directory: Path) -> int:
    """The number of lines of the trace, without parsing: there may be thousands."""
    path = directory / "trace"
    return path.read_bytes().count(b"\n") if path.exists() else 0
