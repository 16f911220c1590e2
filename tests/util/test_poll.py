"""Polling with growing pauses, and waiting for the end of a process without polling."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.jobs.jobs import ExitedJob, Jobs
from agent.processes.process import Process
from agent.util import poll as module
from agent.util.poll import LONGEST, SHORTEST, poll
from agent.util.stop import Stop


class Clock:
    """A clock that advances by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.mark.parametrize("comes", [0.0, 0.012, 0.3, 2.0, 40.0])
def test_fact_is_found_after_at_most_a_tenth_of_the_wait(clock: Clock, comes: float) -> None:
    assert poll(lambda: clock.now >= comes, 60)
    assert clock.now - comes <= max(SHORTEST, min(LONGEST, comes / 10)) * 1.11


def test_poll_returns_the_last_answer_at_its_timeout(clock: Clock) -> None:
    looks: list[str] = []

    def look() -> str:
        looks.append("")
        return looks[-1]

    assert poll(look, 3.0) == ""
    assert clock.now == pytest.approx(3.0) and len(looks) < 60


def test_pauses_depend_on_the_time_waited_before(clock: Clock) -> None:
    looks = []
    poll(lambda: looks.append(clock.now), 1.0, before=10.0)
    assert len(looks) == 5


def test_stop_ends_a_poll_at_once() -> None:
    with Stop() as stop:
        threading.Timer(0.05, stop.request, ("cancelled",)).start()
        began = time.monotonic()
        assert not poll(lambda: False, 60, stop)
        assert time.monotonic() - began < 30


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_end_of_a_process_and_a_stop_are_noticed_without_polling(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process is not None and 0 <= process.age() < 30
    assert not process.await_end(0.01)
    with Stop() as stop:
        stop.request("cancelled")
        assert not process.await_end(60, stop)
    threading.Timer(0.05, process.signal, (signal.SIGKILL,)).start()
    assert process.await_end(60)
    sleeper.wait()
    assert process.await_end(60), "one that is gone has ended"


def test_the_end_of_a_job_is_awaited(tmp_path: Path) -> None:
    assert isinstance(Jobs(tmp_path).start("one", ["true"]).await_end(60), ExitedJob)
