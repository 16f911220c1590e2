"""The end of a call of agentctl: Ctrl-C on a real terminal, the end of the action, and the exit status."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from agent.cli.exits import MEANINGS
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.cli.calling import COMMAND, call, environment, started
from tests.conformance.shapes import LOOP, SUCCESS

CTRL_C = "\x03"
POLL = ("7 ", "271 ")
"""Numbers of the system calls that wait for a socket."""


def at_a_terminal(agent: AgentProcess, words: tuple[str, ...], *dialogue: tuple[str, str]) -> tuple[str, int]:
    """The output of the command on a terminal with these inputs after these prompts, and its status."""
    ours, its = os.openpty()
    own_session = ["setsid", "--ctty", "--wait", *COMMAND, *words]
    with subprocess.Popen(own_session, env=environment(agent), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        for text, answer in dialogue:
            while text.encode() not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, answer.encode())
        with suppress(OSError):  # the end of the other side
            while piece := os.read(ours, 1024):
                shown += piece
        os.close(ours)
        return shown.decode(), process.wait(60)


def awaits_an_answer(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/syscall").read_text().startswith(POLL)


@contextmanager
def locked(db: Path) -> Iterator[None]:
    """The database of an agent while another program writes to it."""
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_ctrl_c_twice_on_a_terminal_cancels_the_action(shared_agent: AgentProcess) -> None:
    words = ("schedule", LOOP, "target=600", "delay=0.2")
    shown, status = at_a_terminal(shared_agent, words, ("RUNNING", CTRL_C), ("press Ctrl-C again", CTRL_C))
    assert (status, "cancel requested: " in shown, f"{LOOP}  cancelled: " in shown) == (3, True, True), shown
    assert shared_agent.queue() == []


def test_a_wait_ends_with_the_first_answer_after_the_end(start_agent: StartAgent) -> None:
    """The agent answers at the end of the action: agentctl does not poll."""
    agent = start_agent()
    agent.occupy()
    waiting = agent.schedule(SUCCESS, {})
    with started(agent, "wait", waiting, "--debug") as process:
        assert process.stderr is not None
        while (line := process.stderr.readline()) != "NEW\n":
            assert line, "it ended before the action"
        eventually(lambda: awaits_an_answer(process), "it waits")
        agent.cancel(waiting)
        stdout, rest = process.communicate(timeout=60)
    assert (process.returncode, "cancelled before it started" in stdout) == (3, True)
    assert len(re.findall("^GET .*: 200 after ", rest, re.MULTILINE)) == 1, rest


def test_agent_with_an_unwritable_database_exits_with_5(start_agent: StartAgent) -> None:
    agent = start_agent()
    agent.occupy()
    waiting = agent.schedule(SUCCESS, {})
    with locked(agent.db):
        ended = call(agent, "cancel", waiting)
    assert (ended.status, ended.stdout) == (5, ""), ended.stderr
    assert ended.stderr.endswith("; the agent answers 503: try again\n")


def test_ctrl_c_before_the_id_is_known_exits_with_130_and_names_the_key(start_agent: StartAgent) -> None:
    agent = start_agent()
    with locked(agent.db), started(agent, "schedule", SUCCESS, "--debug") as process:
        assert process.stderr is not None
        while "/plan/" not in (line := process.stderr.readline()):
            assert line, "it ended before it scheduled"
        eventually(lambda: awaits_an_answer(process), "it schedules")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    found = re.search(
        r"interrupted: the action may be scheduled; repeat the command with --key (\w+) to schedule it", stderr
    )
    assert found, stderr
    again = call(agent, "schedule", SUCCESS, "--key", found[1])
    assert (again.status, len(agent.queue() + agent.finished())) == (0, 1)


def test_documented_exit_statuses_are_those_of_the_program() -> None:
    text = (
        (CHECKOUT / "docs" / "agentctl.rst").read_text().partition("\nExit status\n")[2].partition("\nThis host\n")[0]
    )
    assert [int(each) for each in re.findall(r"^(\d+)  ", text, re.MULTILINE)] == list(MEANINGS)
