"""A database that is not writable for a while: writes are 503, reads work, and the queue continues afterwards."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, Response, StartAgent, eventually
from tests.chaos.witnesses import MARK, complete, ids_by_seq, trace, whole, witness_environment

CONFIG = """
[agent]
kinds = ["witness", "impatient"]
[actions]
execute_interval = 0.5
queue_limit = 100000
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def start(start_agent: StartAgent, directory: Path, **more: str) -> AgentProcess:
    environment = witness_environment(directory, BUSY_TIMEOUT="0.3", **more)
    agent: AgentProcess = start_agent(config=CONFIG, env=environment)
    return agent


def is_unavailable(answer: Response) -> bool:
    """Whether a call was refused with 503 StoreUnavailable."""
    if answer.status != 503:
        return False
    assert answer.json["variant"] == "StoreUnavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["layers"]
    return True


def assert_reads_work(agent: AgentProcess, known: str) -> None:
    """Assert that repeated reads work."""
    for _ in range(12):
        assert isinstance(agent.queue(), list)
        assert isinstance(agent.finished(), list)
        assert agent.info(known)["action"]["id"] == known


# Locked by another process


def test_locked_database_is_503_for_writes_while_reads_work(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start(start_agent, tmp_path)
    known = agent.schedule(MARK, {})
    agent.await_final(known)
    running = agent.occupy()
    other = sqlite3.connect(agent.db, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert is_unavailable(agent.post_schedule(MARK, {}))
        assert is_unavailable(agent.cancel(running))
        assert_reads_work(agent, known)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert len(ids_by_seq(agent.db)) == 2, "nothing was half done"
    assert agent.cancel(running).status == 200
    agent.await_final(running)
    assert agent.await_final(agent.schedule(MARK, {}))["action"]["state"] == "DONE"
    assert "Traceback" not in agent.whole_log()


def test_result_of_a_step_is_stored_once_the_database_is_unlocked(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start(start_agent, tmp_path)
    action_id = agent.schedule(MARK, {"steps": 2, "pause": 0.3})
    following = agent.schedule(MARK, {})
    eventually(lambda: trace(tmp_path), "it runs")
    other = sqlite3.connect(agent.db, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    eventually(lambda: "retrying" in agent.log_text(), "a write failed")
    assert [line.what for line in trace(tmp_path)] == ["begin", "end"]
    other.execute("ROLLBACK")
    other.close()
    assert complete(agent.await_final(action_id))
    agent.await_final(following)
    assert [(line.action_id, line.what, line.number) for line in trace(tmp_path)] == [
        (action_id, "begin", 1),
        (action_id, "end", 1),
        (action_id, "begin", 2),
        (action_id, "end", 2),
        (following, "begin", 1),
        (following, "end", 1),
    ]


# Full


class Filler:
    """A file that fills the disk."""

    def __init__(self, place: Path) -> None:
        self.path = place / "filler"
        self.path.touch()

    def fill(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                self._add(file, b"x" * size)

    def _add(self, file: Any, block: bytes) -> None:
        try:
            while True:
                file.write(block)
        except OSError as error:
            assert error.errno == errno.ENOSPC

    def remove(self) -> None:
        self.path.unlink()


def exhausted(agent: AgentProcess, filler: Filler) -> str:
    """Schedule until the disk is full, which takes several calls; returns the last accepted id."""
    accepted = ""
    for _ in range(2000):
        filler.fill()
        answer = agent.post_schedule(MARK, {})
        if is_unavailable(answer):
            return accepted
        assert answer.status == 200
        accepted = answer.json["id"]
    raise AssertionError("the disk was never full")


def test_full_disk_is_503_for_writes_while_reads_work_and_the_running_action_waits(
    small_disk: Path, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start(start_agent, tmp_path, AGENT_DB=str(small_disk / "agent.db"))
    running = agent.schedule(MARK, {"steps": 1000, "after": 0.05})
    eventually(lambda: len(trace(tmp_path)) > 4, "it runs")
    filler = Filler(small_disk)
    exhausted(agent, filler)
    eventually(lambda: "retrying" in agent.log_text(), "the result of the running step cannot be stored")
    assert is_unavailable(agent.post_schedule(MARK, {}))
    assert_reads_work(agent, running)
    assert agent.state(running) == "RUNNING"
    steps = len(trace(tmp_path))
    filler.remove()
    eventually(lambda: len(trace(tmp_path)) > steps, "it continues by itself")
    accepted = agent.schedule(MARK, {})
    assert agent.cancel(running).status == 200
    assert complete(agent.await_final(running))
    agent.await_final(accepted, timeout=30)
    order = ids_by_seq(small_disk / "agent.db")
    assert [each["id"] for each in agent.finished()] == order[::-1]
    numbers = [line.number for line in trace(tmp_path) if line.action_id == running and line.what == "begin"]
    assert numbers == list(range(1, len(numbers) + 1)), "no step was done twice"
    assert whole(small_disk / "agent.db")
    assert "Traceback" not in agent.whole_log()


def test_actions_accepted_before_the_disk_was_full_survive_a_kill(
    small_disk: Path, start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start(start_agent, tmp_path, AGENT_DB=str(small_disk / "agent.db"))
    running = agent.occupy()
    first = agent.schedule(MARK, {})
    filler = Filler(small_disk)
    accepted = exhausted(agent, filler) or first
    before = [each["id"] for each in agent.queue()]
    agent.kill_all()
    filler.remove()
    agent.start()
    assert [each["id"] for each in agent.queue()] == before
    assert before[-1] == accepted
    agent.cancel(running)
    agent.await_final(accepted, timeout=30)
    assert whole(small_disk / "agent.db")


# Read-only


def test_a_read_only_disk_refuses_the_start_in_one_line(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (tmp_path / "agent").mkdir()
    agent = AgentProcess(tmp_path / "agent", env={"AGENT_DB": str(small_disk / "agent.db")})
    with pytest.raises(AssertionError, match="left with exit code"):
        agent.start()
    message = [line for line in agent.log_text().splitlines() if line.startswith("agent: ")]
    assert len(message) == 1
    assert os.strerror(errno.EROFS) in message[0]
    assert "Traceback" not in agent.whole_log()
