"""Children of an action after a kill of the agent: a job continues and is found, a command is ended and reported."""

from pathlib import Path

import pytest

from agent.processes.process import Process
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.test_secrets import killed, killed_worker
from tests.chaos.witnesses import CONFIG, complete, trace, witness_environment
from tests.processes.children import ended_at_the_end, pid_in, process_in

KILLS = pytest.mark.parametrize("kill", [killed_worker, killed])


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """An agent with the witness kinds."""
    return start_agent(config=CONFIG, env=witness_environment(tmp_path))


def what(directory: Path) -> list[str]:
    return [line.what for line in trace(directory)]


@KILLS
def test_a_job_continues_over_the_kill_and_is_found_again(agent: AgentProcess, tmp_path: Path, kill: object) -> None:
    action_id = agent.schedule("witness.job", {})
    worker = process_in(tmp_path / "job.pid")
    with ended_at_the_end(worker):
        eventually(lambda: agent.info(action_id)["action"]["state_payload"], "its job is known")
        assert callable(kill)
        kill(agent)
        agent.await_ready()
        assert worker.alive, "it continues"
        eventually(lambda: "interrupted" in what(tmp_path) or "taken over" in agent.log_text(), "it was taken over")
        (tmp_path / "job.go").touch()
        info = agent.await_final(action_id)
    assert (info["action"]["state"], info["action"]["state_payload"]) == ("DONE", {"said": "done\n"})
    assert (tmp_path / "job.started").read_text() == "started\n", "it was started once"
    assert complete(info)
    assert not worker.alive


@KILLS
def test_command_of_a_step_is_ended_by_a_kill_and_its_action_is_interrupted(
    agent: AgentProcess, tmp_path: Path, kill: object
) -> None:
    action_id = agent.schedule("witness.command", {})
    following = agent.schedule("witness.mark", {})
    eventually(lambda: commands_of(action_id), "its command runs")
    [command] = commands_of(action_id)
    with ended_at_the_end(command):
        assert callable(kill)
        kill(agent)
        agent.await_ready()
        info = agent.await_final(action_id)
        assert not command.alive
    assert info["action"]["state"] == "FAILED"
    assert info["action"]["state_payload"]["interrupted"] is True
    assert "ended processes left by a killed agent" in agent.log_text()
    assert agent.await_final(following)["action"]["state"] == "DONE"
    assert commands_of(action_id) == [], "an orphan is left"


PRINTS = """#!/bin/sh
# The shell dies of its next line once it has no reader; its child does not.
sh -c 'echo $$ > work.tmp; mv work.tmp work; exec sleep 60' >/dev/null 2>&1 &
while kill -0 $!; do echo working; sleep 0.1; done
"""
LEAVES = """#!/bin/sh
sleep 60 >/dev/null 2>&1 &
echo $! > left
"""
EXTERNAL = """
[external_actions.{name}]
action = ["{directory}/{action}"]
check = ["{directory}/{check}"]
"""


@KILLS
def test_children_of_an_interrupted_command_end_and_daemons_of_a_finished_command_continue(
    start_agent: StartAgent, tmp_path: Path, kill: object
) -> None:
    for name, text in (("prints", PRINTS), ("leaves", LEAVES)):
        (tmp_path / name).write_text(text.replace("/bin/sh\n", f"/bin/sh\ncd {tmp_path}\n"))
        (tmp_path / name).chmod(0o755)
    external = EXTERNAL.format(name="both", directory=tmp_path, action="leaves", check="prints")
    agent = start_agent(config=CONFIG + external, env=witness_environment(tmp_path))
    action_id = agent.schedule("external.both", {})
    following = agent.schedule("replicante.test.success", {})
    left, work = process_in(tmp_path / "left"), process_in(tmp_path / "work")
    with ended_at_the_end(left, work):
        assert callable(kill)
        kill(agent)
        agent.await_ready()
        eventually(lambda: not work.alive, "what the interrupted command began was ended", 20)
        assert left.alive, "it was left by a command that had ended"
        eventually(lambda: (again := pid_in(tmp_path / "work")) != work.pid and again, "it is checked again")
        agent.cancel(action_id)
        assert agent.await_final(following)["action"]["state"] == "DONE"
        assert commands_of(action_id) == [left]


def commands_of(action_id: str) -> list[Process]:
    """The processes that carry the mark of the action."""
    mark = f"AGENT_ACTION={action_id}".encode()
    found = [Process.of(pid) for pid in pids() if mark in environment(pid)]
    return [process for process in found if process is not None]


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
