"""The options of a window: when actions of some kinds may start, by the clock of the host."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.config import validators
from agent.config.mistakes import Mistake
from agent.config.option import option, required

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
WEEK = 7


def days(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(each in DAYS for each in value):
        raise Mistake(f"a list of {', '.join(DAYS)}", value)
    return tuple(value)


def hours(value: Any) -> str:
    found = HOURS.fullmatch(value) if isinstance(value, str) else None
    if found is None or found.groups()[:2] == found.groups()[2:]:
        raise Mistake('two different times of the day such as "22:00-05:00"', value)
    return str(value)


@dataclass(frozen=True)
class Window:
    """When actions of some kinds may start. A kind in several windows may start in each of them."""

    kinds: tuple[str, ...] = required(validators.texts, "The kinds, * allowed.", '["stack_reboot", "deploy"]')
    hours: str = required(
        hours,
        "Begin and end, local time; a window past midnight belongs to the day on which it opens.",
        '"22:00-05:00"',
    )
    days: tuple[str, ...] = option(DAYS, days, "The days on which it opens.")

    def is_open(self, now: datetime) -> bool:
        """Whether it is open at this local time."""
        return any(self._opens_on(day) and begin <= now < end for day, begin, end in self._around(now, -1, 1))

    def next_opening(self, now: datetime) -> datetime:
        """When it opens next, in local time."""
        return next(begin for day, begin, _ in self._around(now, 0, WEEK + 1) if self._opens_on(day) and begin > now)

    def _opens_on(self, day: datetime) -> bool:
        return DAYS[day.weekday()] in self.days

    def _around(self, now: datetime, first: int, last: int) -> list[tuple[datetime, datetime, datetime]]:
        """Midnight, opening and closing of each day; `first` and `last` (excluded) count days from today."""
        found = HOURS.fullmatch(self.hours)
        assert found is not None
        begin, begin_minute, end, end_minute = map(int, found.groups())
        days = [now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=n) for n in range(first, last)]
        past_midnight = timedelta(days=(end, end_minute) < (begin, begin_minute))
        opens = [day.replace(hour=begin, minute=begin_minute) for day in days]
        closes = [day.replace(hour=end, minute=end_minute) + past_midnight for day in days]
        return list(zip(days, opens, closes, strict=True))
