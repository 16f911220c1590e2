"""A service at rest after its start counts as started; a busy, ended or hidden process does not yet."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from agent.processes.rest import REST, RestCheck
from tests.agent_process import eventually

STAYS = 1000.0
"""A minimum age that these tests never reach."""
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command, such as a `cat` that waits for its input, and returns its pid; kills it at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str) -> int:
        started.append(subprocess.Popen(argv, stdin=subprocess.PIPE))
        return started[-1].pid

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_blocked_processes_are_at_rest_before_the_minimum_age(start: Start) -> None:
    pids, rest = [start("cat"), start("cat")], RestCheck()
    eventually(lambda: rest.left(0.0, STAYS, pids) == 0.0, "rest")


def test_process_in_a_timed_sleep_is_not_at_rest(start: Start) -> None:
    pids, rest = [start("cat"), start("sleep", "600")], RestCheck()
    deadline = time.monotonic() + 4 * REST
    while time.monotonic() < deadline:
        left = rest.left(0.0, STAYS, pids)
        assert 0.0 < left < 1.0
        time.sleep(REST / 5)


def test_processes_are_not_at_rest_while_one_uses_the_cpu(start: Start) -> None:
    pids, rest = [start("cat"), start("sh", "-c", "while :; do :; done")], RestCheck()
    looked = [rest.left(0.0, STAYS, pids) for _ in range(200)]
    assert all(looked) and max(looked) < 1.0, "the next look is soon"


@pytest.mark.parametrize("pids", [[], [2**22 + 1]])
def test_invisible_processes_are_at_rest_only_at_the_minimum_age(pids: list[int]) -> None:
    rest = RestCheck()
    assert rest.left(0.0, STAYS, pids) and rest.left(0.0, STAYS, pids)
    assert rest.left(STAYS, STAYS, pids) == 0.0


def test_an_ended_process_is_not_at_rest(start: Start) -> None:
    pid = start("true")  # a zombie until the end of the test
    rest = RestCheck()
    assert all(rest.left(0.0, STAYS, [pid]) for _ in range(50))


def test_replaced_process_begins_the_wait_again(start: Start) -> None:
    rest, first, second = RestCheck(), start("cat"), start("cat")
    eventually(lambda: rest.left(0.0, STAYS, [first]) == 0.0, "rest of the first")
    assert rest.left(0.0, STAYS, [second])
