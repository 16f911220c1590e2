"""No byte of a secret is in the database file or beside it once its action is final, after any interruption."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.test_fault_points import FaultPoints, Patient
from tests.chaos.witnesses import MARK, whole, witness_environment

SECRET = "correct-horse-battery-staple"
CONFIG = """
[agent]
kinds = ["witness", "secretive", "faults"]
[actions]
execute_interval = 0.2
queue_limit = 100000
"""
TICKS = 3.0
"""Seconds until the WAL is truncated, also on a busy machine: with the finish, or at the next tick."""


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    return start_agent(config=CONFIG, env=witness_environment(tmp_path))


def holding(directory: Path, secret: str = SECRET) -> list[str]:
    """The files of the agent that contain these bytes."""
    return [file.name for file in directory.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def erased(agent: AgentProcess) -> None:
    eventually(lambda: not holding(agent.directory), "no file has the secret", TICKS)


def use(password: str = SECRET, pause: float = 0.0) -> dict[str, object]:
    return {"password": password, "pause": pause}


def test_secret_is_stored_while_needed_and_in_no_file_once_the_action_is_final(agent: AgentProcess) -> None:
    running = agent.schedule("secretive.use", use(pause=1))
    agent.await_state(running, "RUNNING")
    assert holding(agent.directory), "positive control"
    info = agent.await_final(running)
    assert info["action"]["state_payload"]["said"] == "not ********"
    erased(agent)


def test_a_secret_of_an_action_that_was_cancelled_is_in_no_file(agent: AgentProcess) -> None:
    agent.occupy()
    waiting = agent.schedule("secretive.use", use())
    assert holding(agent.directory)
    assert agent.cancel(waiting).status == 200
    erased(agent)


def test_the_secrets_of_a_long_queue_are_in_no_page_when_all_are_final(agent: AgentProcess) -> None:
    """Rows that move between pages must not leave copies."""
    running = agent.occupy()
    for number in range(150):
        agent.schedule("secretive.use", use(f"{SECRET}-{number}-{'x' * (number * 37 % 900)}"))
        agent.schedule("replicante.test.ping", {"count": 1 + number % 4})
    agent.cancel(running)
    eventually(lambda: not agent.queue(), "all are final", 60)
    erased(agent)
    assert whole(agent.db)


def test_a_reader_delays_the_wipe_of_secrets_and_no_caller(agent: AgentProcess) -> None:
    with closing(sqlite3.connect(agent.db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM actions").fetchone()
        agent.await_final(agent.schedule("secretive.use", use()))
        agent.await_final(agent.schedule(MARK, {}), timeout=5)
        assert holding(agent.directory), "the reader needs the log"
        reader.execute("ROLLBACK")
    erased(agent)


def killed_worker(agent: AgentProcess) -> None:
    agent.kill_worker()


def killed(agent: AgentProcess) -> None:
    agent.kill_all()
    agent.start()


@pytest.mark.parametrize("kill", [killed_worker, killed])
def test_kill_during_a_step_leaves_no_secret(agent: AgentProcess, kill: Callable[[AgentProcess], None]) -> None:
    running = agent.schedule("secretive.use", use(pause=60))
    agent.await_state(running, "RUNNING")
    kill(agent)
    agent.await_ready()
    assert agent.await_final(running)["action"]["state_payload"]["interrupted"] is True
    erased(agent)


def test_kill_at_any_commit_leaves_no_secret(agent: AgentProcess, tmp_path: Path) -> None:
    points, client = FaultPoints(tmp_path), Patient(agent)
    for point in points.each():
        print(point)
        client.await_state(client.schedule("secretive.use", use()), "DONE", "FAILED")
        erased(agent)
    assert {"before finish", "after finish"} <= set(points.hit)
