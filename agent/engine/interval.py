"""APScheduler as a timer that a jump of the wall clock neither stops nor floods."""

from datetime import datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from agent import clock

TOLERANCE = timedelta(seconds=0.5)
"""A larger difference between the two clocks counts as a jump."""


class EveryTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires `seconds` after the last firing, even if that was late; missed firings are not repeated."""

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now + self._interval


class SteadyJobStore(MemoryJobStore):  # type: ignore[misc]
    """Moves the jobs with the wall clock when that is set back, as APScheduler knows no other clock.

    Without it a clock set back by a day would stop the ticks for a day.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: tuple[datetime, float] | None = None

    def get_due_jobs(self, now: datetime) -> list[Job]:
        jump = self._jump(now)
        # A clock set forward makes every job due once: moving the jobs would delay one that was rescheduled since.
        if jump < -TOLERANCE:
            for job in self.get_all_jobs():
                job.modify(next_run_time=job.next_run_time + jump)
        due: list[Job] = super().get_due_jobs(now)
        return due

    def _jump(self, now: datetime) -> timedelta:
        """How far the wall clock has moved against the monotonic clock since the last call."""
        seen, steady = self._seen, clock.monotonic()
        self._seen = now, steady
        return now - seen[0] - timedelta(seconds=steady - seen[1]) if seen else timedelta()


class SteadyScheduler(BackgroundScheduler):  # type: ignore[misc]
    """Waits at most `interval` seconds before it looks for due jobs again.

    APScheduler reads the wall clock for the jobs that are due, and once more for the wait until the next one.
    Without the bound a clock set back by a day between the two would stop the ticks for a day.
    """

    def __init__(self, interval: float, **options: Any) -> None:
        super().__init__(**options)
        self._interval = interval

    def _process_jobs(self) -> float:
        seconds: float | None = super()._process_jobs()
        return self._interval if seconds is None else min(seconds, self._interval)


def timer(interval: float) -> BackgroundScheduler:
    """A scheduler with room for a tick every `interval` seconds and a prune at the same time."""
    return SteadyScheduler(
        interval,
        jobstores={"default": SteadyJobStore()},
        executors={"default": ThreadPoolExecutor(2)},
        job_defaults={"coalesce": True, "misfire_grace_time": None},
        timezone="UTC",
    )
