"""Timers under jumps of the wall clock, tested by the calls that APScheduler makes to its job store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from agent import clock
from agent.engine.interval import EveryTrigger, SteadyJobStore, timer
from tests.agent_process import eventually

START = datetime(2019, 8, 30, 20, 40, 24, tzinfo=UTC)
DAY, YEAR = timedelta(days=1), timedelta(days=365)


class Clocks:
    """Both clocks, set by the test."""

    def __init__(self) -> None:
        self.wall, self.steady = START, 1000.0

    def pass_time(self, seconds: float, jump: timedelta = timedelta()) -> None:
        """Let time pass, and set the wall clock."""
        self.steady += seconds
        self.wall += timedelta(seconds=seconds) + jump


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(clock, "monotonic", lambda: made.steady)
    return made


@pytest.fixture
def paused(clocks: Clocks) -> Iterator[BackgroundScheduler]:
    """A timer with a job due in a second and one due in an hour, run by the test alone."""
    made = timer(1)
    made.start(paused=True)
    made.add_job(print, EveryTrigger(1), id="drain", next_run_time=clocks.wall + timedelta(seconds=1))
    made.add_job(print, EveryTrigger(3600), id="prune", next_run_time=clocks.wall + timedelta(hours=1))
    assert due(made, clocks) == []
    yield made
    made.shutdown(wait=False)


def due(made: BackgroundScheduler, clocks: Clocks) -> list[str]:
    """The jobs that APScheduler would run now; like APScheduler, sets the next run of each by its trigger."""
    store = made._lookup_jobstore("default")
    jobs = store.get_due_jobs(clocks.wall)
    for job in jobs:
        assert len(job._get_run_times(clocks.wall)) == 1, "what was missed is not made up for"
        job._modify(next_run_time=job.trigger.get_next_fire_time(None, clocks.wall))
        store.update_job(job)
    return [job.id for job in jobs]


@pytest.mark.parametrize("jump", [-YEAR, -DAY, timedelta(seconds=-2), timedelta(), timedelta(seconds=2), DAY, YEAR])
def test_ticks_keep_their_interval_after_the_clock_was_set(
    paused: BackgroundScheduler, clocks: Clocks, jump: timedelta
) -> None:
    clocks.pass_time(1.0)
    assert due(paused, clocks) == ["drain"]
    clocks.pass_time(0.5, jump)
    due(paused, clocks)
    clocks.pass_time(1.0)
    assert due(paused, clocks) == ["drain"]
    clocks.pass_time(0.5)
    assert due(paused, clocks) == []
    clocks.pass_time(0.5)
    assert due(paused, clocks) == ["drain"]


@pytest.mark.parametrize("jump", [-YEAR, -DAY, timedelta(), DAY, YEAR])
def test_a_job_woken_just_after_the_clock_was_set_is_due_at_once(
    paused: BackgroundScheduler, clocks: Clocks, jump: timedelta
) -> None:
    clocks.pass_time(0.5, jump)
    paused.modify_job("drain", next_run_time=clocks.wall)
    assert "drain" in due(paused, clocks)


def test_a_clock_set_back_does_not_flood_the_other_jobs(paused: BackgroundScheduler, clocks: Clocks) -> None:
    for _ in range(10):
        clocks.pass_time(0.9, -DAY)
        assert "prune" not in due(paused, clocks)
    clocks.pass_time(3600)
    assert "prune" in due(paused, clocks)


def test_suspend_of_the_machine_makes_one_tick_of_the_missed_ones(paused: BackgroundScheduler, clocks: Clocks) -> None:
    clocks.pass_time(8 * 3600)
    assert due(paused, clocks) == ["drain", "prune"]
    assert due(paused, clocks) == []


def test_the_real_timer_fires_again_and_again() -> None:
    with ticking() as fired:
        for _ in range(5):
            assert fired.acquire(timeout=5)


def test_ticks_continue_if_the_clock_is_set_back_while_the_timer_computes_its_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """APScheduler reads the clock for the jobs that are due, and once more for the time until the next one."""

    class Wall(datetime):
        offset = timedelta()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + cls.offset

    def set_back_by_a_day(store: SteadyJobStore) -> datetime | None:
        found: datetime | None = MemoryJobStore.get_next_run_time(store)
        Wall.offset -= DAY
        return found

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Wall)
    monkeypatch.setattr(SteadyJobStore, "get_next_run_time", set_back_by_a_day)
    with ticking() as fired:
        for _ in range(5):
            assert fired.acquire(timeout=5)


@contextmanager
def ticking() -> Iterator[threading.Semaphore]:
    """A semaphore that a real timer releases every 0.05 seconds."""
    fired = threading.Semaphore(0)
    made = timer(0.05)
    made.add_job(fired.release, EveryTrigger(0.05), id="drain", next_run_time=datetime.now(UTC))
    made.start()
    try:
        yield fired
    finally:
        made.shutdown()
    eventually(lambda: not made.running, "the timer has ended")
