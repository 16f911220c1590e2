"""A long step delays only the queue, and a cancel ends its command."""

import time
from pathlib import Path
from statistics import median

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import CONFIG, MARK, begun, trace, witness_environment

pytestmark = pytest.mark.alone
FACTOR = 4.0
FLOOR = 0.010
"""Seconds that a call may always take, even if the idle agent was faster."""


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """An agent with the witness kinds."""
    return start_agent(config=CONFIG, env=witness_environment(tmp_path))


def medians(agent: AgentProcess) -> dict[str, float]:
    """Median seconds of each sort of call."""
    known = agent.schedule("replicante.test.success", {})
    calls = {
        "queue": lambda: agent.queue(),
        "finished": lambda: agent.finished(),
        "info": lambda: agent.info(known),
        "schedule": lambda: agent.schedule("replicante.test.success", {}),
    }
    return {name: median(timed(call) for _ in range(25)) for name, call in calls.items()}


def timed(call: object) -> float:
    begin = time.perf_counter()
    assert callable(call)
    call()
    return time.perf_counter() - begin


def test_calls_are_as_fast_during_a_long_step_as_on_an_idle_agent(agent: AgentProcess, tmp_path: Path) -> None:
    medians(agent)
    idle = medians(agent)
    action_id = agent.schedule(MARK, {"pause": 10})
    eventually(lambda: action_id in begun(tmp_path), "it runs")
    busy = medians(agent)
    assert agent.state(action_id) == "RUNNING", "the calls were made while the step ran"
    assert [line.what for line in trace(tmp_path)] == ["begin"]
    print({name: f"{idle[name] * 1000:.1f} ms idle, {busy[name] * 1000:.1f} ms busy" for name in idle})
    assert all(busy[name] < max(FACTOR * idle[name], FLOOR) for name in idle), (idle, busy)
    agent.kill_all()  # a stop would wait for the step, and other tests for this one


def test_a_cancel_ends_the_command_of_a_step_promptly(agent: AgentProcess, tmp_path: Path) -> None:
    action_id = agent.schedule("witness.command", {})
    after = agent.schedule(MARK, {})
    eventually(lambda: action_id in begun(tmp_path), "its command runs")
    answer = agent.cancel(action_id)
    assert (answer.status, answer.json["state"]) == (200, "RUNNING")
    info = agent.await_final(action_id)
    assert info["action"]["state"] == "FAILED"
    assert info["action"]["state_payload"]["cancelled"] is True
    assert agent.await_final(after)["action"]["state"] == "DONE"


def test_a_cancel_between_two_steps_does_not_wait_for_the_next(agent: AgentProcess) -> None:
    action_id = agent.schedule("replicante.test.loop", {"target": 2, "delay": 600})
    agent.await_state(action_id, "RUNNING")
    eventually(lambda: agent.info(action_id)["action"]["state_payload"], "its first step is over")
    assert agent.cancel(action_id).status == 200
    assert agent.await_final(action_id)["action"]["state_payload"]["cancelled"] is True
