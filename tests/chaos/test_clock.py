"""Jumps of the wall clock while an agent runs do not affect ticks, order, waits and timeouts."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import clock
from agent.models import Request, Requester
from agent.store import Store
from agent.store.enqueue import Enqueuer
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.chaos.wall_clock import STEADY_SLEEP, Clock
from tests.chaos.witnesses import (
    MARK,
    await_begun,
    begun,
    complete,
    ids_by_seq,
    never_two_at_once,
    trace,
    witness_environment,
)

CONFIG = """
[agent]
kinds = ["witness"]
[actions]
execute_interval = 0.2
timeouts = { "replicante.test.loop" = 3 }
"""
A_LONG_TIME = 60.0  # seconds: more than a busy machine adds, less than the jumps of a day and a year
JUMPS = ["-1d", "+365d", "-365d", "+1h", "-90"]
A_TICK = 60.0  # seconds: far more than the interval on a busy machine, less than the smallest jump
NO_TICK = "execute_interval = 60"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the clock, and of the trace of `agent`."""
    return tmp_path_factory.mktemp("clock")


@pytest.fixture(scope="module")
def shared_clock(directory: Path) -> Clock:
    return Clock(directory)


@pytest.fixture
def wall(shared_clock: Clock) -> Iterator[Clock]:
    """The clock of the agents. It is right again after each test."""
    yield shared_clock
    shared_clock.set("+0")


@pytest.fixture(scope="module")
def agent(directory: Path, shared_clock: Clock) -> Iterator[AgentProcess]:
    """An agent with the clock `wall`, for all tests of this file that leave its queue empty."""
    (own := directory / "agent").mkdir()
    started = AgentProcess(own, config=CONFIG, env=environment_of(directory, shared_clock)).start()
    yield started
    started.close()


@pytest.fixture
def own_agent(start_agent: StartAgent, tmp_path: Path, wall: Clock) -> AgentProcess:
    """An agent with the clock `wall`, for one test. Its trace is in `tmp_path`."""
    return start_agent(config=CONFIG, env=environment_of(tmp_path, wall))


def environment_of(directory: Path, wall: Clock) -> dict[str, str]:
    environment = witness_environment(directory, **wall.environment)
    return environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{STEADY_SLEEP}"}


@pytest.fixture
def slip_in(agent: AgentProcess) -> Callable[[], str]:
    """Schedule directly in the database, like another agent: only a tick can notice it."""
    enqueuer = Enqueuer(Store(agent.db), 1000)
    request = Request(MARK, {}, {}, {}, Requester.API, "tests@here", ("Server", "here"), clock.now())
    return lambda: enqueuer.schedule(request).action_id


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_the_clock_of_the_agent_can_be_set_while_it_runs(agent: AgentProcess, wall: Clock) -> None:
    """Positive control of the tests below."""
    wall.set("+365d")
    later = agent.info(agent.schedule(MARK, {}))["action"]["created_ts"]
    wall.set("-365d")
    sooner = agent.info(agent.schedule(MARK, {}))["action"]["created_ts"]
    assert int(later[:4]) - int(sooner[:4]) == 2


@pytest.mark.parametrize("jump", JUMPS)
def test_ticks_continue_when_the_clock_is_set(
    agent: AgentProcess, wall: Clock, slip_in: Callable[[], str], directory: Path, jump: str
) -> None:
    await_begun(directory, slip_in(), A_TICK)
    wall.set(jump)
    for _ in range(3):
        await_begun(directory, slip_in(), A_TICK)


def test_a_call_just_after_the_clock_was_set_starts_its_action_at_once(
    start_agent: StartAgent, wall: Clock, tmp_path: Path
) -> None:
    config = CONFIG.replace("execute_interval = 0.2", NO_TICK)
    agent = start_agent(config=config, env=environment_of(tmp_path, wall))
    for jump in JUMPS:
        wall.set(jump)
        await_begun(tmp_path, agent.schedule(MARK, {}), A_TICK)


def test_order_and_history_are_kept_while_the_clock_jumps(own_agent: AgentProcess, wall: Clock, tmp_path: Path) -> None:
    ids = []
    for number in range(25):
        wall.set(JUMPS[number % len(JUMPS)])
        ids.append(own_agent.schedule(MARK, {"steps": 2, "pause": 0.005}))
        queue = [each["id"] for each in own_agent.queue()]
        assert queue == sorted(queue, key=ids.index)
    infos = [own_agent.await_final(action_id) for action_id in ids]
    assert ids_by_seq(own_agent.db) == ids == begun(tmp_path)
    assert [each["id"] for each in own_agent.finished()] == ids[::-1]
    assert never_two_at_once(trace(tmp_path))
    assert all(complete(info) for info in infos)
    assert all(info["history"][0]["state"] == "DONE" for info in infos)


@pytest.mark.parametrize("jump", ["-1d", "+365d"])
def test_wait_between_steps_ignores_jumps_of_the_clock(agent: AgentProcess, wall: Clock, jump: str) -> None:
    begin = time.monotonic()
    action_id = agent.schedule("replicante.test.loop", {"target": 2, "delay": 2})
    agent.await_state(action_id, "RUNNING")
    wall.set(jump)
    assert agent.await_final(action_id, A_LONG_TIME)["action"]["state"] == "DONE"
    assert time.monotonic() - begin >= 2


@pytest.mark.parametrize("jump", ["-1d", "+365d"])
def test_timeout_ignores_jumps_of_the_clock(agent: AgentProcess, wall: Clock, jump: str) -> None:
    begin = time.monotonic()
    action_id = agent.schedule("replicante.test.loop", {"target": 600, "delay": 0.5})
    agent.await_state(action_id, "RUNNING")
    wall.set(jump)
    assert agent.await_final(action_id, A_LONG_TIME)["action"]["state_payload"]["timed_out"] is True
    assert time.monotonic() - begin >= 3


def test_prefer_wait_ignores_jumps_of_the_clock(own_agent: AgentProcess, wall: Clock) -> None:
    action_id = own_agent.schedule(MARK, {"pause": 600})
    own_agent.await_state(action_id, "RUNNING")
    seen = own_agent.get_info(action_id).headers["ETag"]
    for jump in ("-1d", "+365d"):
        begin = time.monotonic()
        wall.set(jump)
        headers = {"If-None-Match": seen, "Prefer": "wait=1"}
        answer = own_agent.get_info(action_id, headers=headers, timeout=A_LONG_TIME)
        assert answer.status == 304
        assert time.monotonic() - begin >= 1
    own_agent.kill_all()


@pytest.mark.parametrize("jump", ["-1d", "+365d"])
def test_jump_of_the_clock_causes_no_burst_of_ticks(agent: AgentProcess, wall: Clock, jump: str) -> None:
    [worker] = agent.workers()
    before = resident_kilobytes(worker)
    calm = used_in_fifteen_ticks(worker)
    wall.set(jump)
    assert used_in_fifteen_ticks(worker) < 3 * calm + 1
    assert resident_kilobytes(worker) - before < 5000


def used_in_fifteen_ticks(worker: int) -> float:
    """Processor seconds, most of them used by the library that sets the clock."""
    begin, before = time.monotonic(), processor_seconds(worker)
    eventually(lambda: time.monotonic() - begin > 3, "fifteen ticks are over")
    return processor_seconds(worker) - before
