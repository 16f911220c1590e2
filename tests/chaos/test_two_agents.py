"""Two agents on one database: one executes, the other answers calls and takes over after the first ends."""

import time
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import (
    CONFIG,
    MARK,
    Clients,
    await_begun,
    begun,
    ids_by_seq,
    never_two_at_once,
    trace,
    witness_environment,
)

pytestmark = pytest.mark.alone
TICK = 0.5
PATIENCE = 30
"""Seconds in which the other agent must check the queue, also on a busy machine."""


@pytest.fixture
def two(start_agent: StartAgent, tmp_path: Path) -> tuple[AgentProcess, AgentProcess]:
    """The agent that executes, and one on the same database that does not."""
    environment = witness_environment(tmp_path, AGENT_DB=str(tmp_path / "agent.db"))
    first = start_agent(config=CONFIG, env=environment)
    eventually(lambda: "executes the queue" in first.log_text(), "the first executes")
    return first, start_agent(config=CONFIG, env=environment)


def test_only_one_of_two_agents_executes_and_both_return_the_same(
    two: tuple[AgentProcess, AgentProcess], tmp_path: Path
) -> None:
    first, second = two
    clients = [Clients(agent, args=lambda: {"pause": 0.002}) for agent in two]
    for each in clients:
        each.start(4, 20)
    for each in clients:
        each.join(60)
    eventually(lambda: not second.queue(), "all are final", 60)
    order = ids_by_seq(tmp_path / "agent.db")
    assert len(order) == 4 * 20, "the clients of both use the same keys"
    assert clients[0].wrong == clients[1].wrong == []
    assert begun(tmp_path) == order
    assert never_two_at_once(trace(tmp_path))
    assert first.finished() == second.finished()
    assert "this process executes the queue" not in second.whole_log()


def test_idle_agent_warns_once_and_names_the_executing_process(
    two: tuple[AgentProcess, AgentProcess],
) -> None:
    first, second = two
    warning = "this process stores actions but does not execute them: process {} executes the queue"
    [worker] = first.workers()
    eventually(lambda: warning.format(worker) in second.log_text(), "the warning", 20)
    time.sleep(4 * TICK)
    assert second.log_text().count("does not execute them") == 1
    assert "does not execute them" not in first.whole_log()


def test_action_scheduled_at_the_idle_agent_is_started_by_the_executing_agent(
    two: tuple[AgentProcess, AgentProcess], tmp_path: Path
) -> None:
    _, second = two
    for _ in range(3):
        action_id = second.schedule(MARK, {})
        await_begun(tmp_path, action_id, PATIENCE)


@pytest.mark.parametrize(
    ("kind", "args"), [("witness.command", {}), ("replicante.test.loop", {"target": 100, "delay": 600})]
)
def test_cancel_at_the_idle_agent_ends_an_action_of_the_executing_agent(
    two: tuple[AgentProcess, AgentProcess], kind: str, args: object
) -> None:
    first, second = two
    action_id = first.schedule(kind, args)
    first.await_state(action_id, "RUNNING")
    assert second.cancel(action_id).status == 200
    info = second.await_final(action_id, timeout=PATIENCE)
    assert info["action"]["state"] == "FAILED"
    assert info["action"]["state_payload"]["cancelled"] is True


def test_idle_agent_takes_over_after_a_kill(two: tuple[AgentProcess, AgentProcess], tmp_path: Path) -> None:
    first, second = two
    interrupted = first.schedule(MARK, {"steps": 2, "pause": 0.3})
    waiting = second.schedule(MARK, {})
    eventually(lambda: interrupted in begun(tmp_path), "it runs")
    first.kill_all()
    eventually(lambda: "interrupted" in [line.what for line in trace(tmp_path)], "the other continues", PATIENCE)
    assert second.await_final(waiting)["action"]["state"] == "DONE"
    assert second.info(interrupted)["action"]["state"] == "DONE"
    assert begun(tmp_path) == [interrupted, waiting]
    assert never_two_at_once(trace(tmp_path))


def test_stopped_agent_hands_over_the_running_action_between_steps(
    two: tuple[AgentProcess, AgentProcess], tmp_path: Path
) -> None:
    first, second = two
    action_id = first.schedule(MARK, {"steps": 8, "after": 0.2})
    eventually(lambda: len(trace(tmp_path)) >= 4, "it runs")
    first.stop()
    assert second.await_final(action_id)["action"]["state"] == "DONE"
    lines = [(line.what, line.number) for line in trace(tmp_path)]
    assert lines == [(what, number) for number in range(1, 9) for what in ("begin", "end")]
    assert len(second.info(action_id)["history"]) == 10
