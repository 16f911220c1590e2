"""Windows: the days and hours at which actions of a kind may start."""

from __future__ import annotations

from datetime import datetime

import pytest

from agent import config
from agent.config import Window
from agent.errors import ConfigError

NIGHT = Window(kinds=("*",), hours="22:00-05:30", days=("mon", "sun"))
NOON = Window(kinds=("*",), hours="11:30-12:30")
# 2026-11-23 is a Monday.


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}")


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("23T21:59:59", False),
        ("23T22:00", True),
        ("24T00:00", True),  # opened on Monday
        ("24T05:29:59", True),
        ("24T05:30", False),
        ("24T22:00", False),  # Tuesday
        ("23T05:00", True),  # opened on Sunday
        ("22T05:00", False),  # Saturday night
    ],
)
def test_a_window_past_midnight_belongs_to_the_day_on_which_it_opens(now: str, is_open: bool) -> None:
    assert NIGHT.is_open(at(now)) is is_open


def test_a_window_within_a_day_opens_every_day() -> None:
    assert [NOON.is_open(at(f"{day}T12:00")) for day in range(20, 27)] == [True] * 7
    assert not NOON.is_open(at("23T12:30")) and not NOON.is_open(at("23T00:00"))


@pytest.mark.parametrize(
    ("now", "opens"),
    [("23T12:00", "23T22:00"), ("23T22:00", "29T22:00"), ("24T12:00", "29T22:00"), ("29T21:00", "29T22:00")],
)
def test_the_next_opening_is_after_now(now: str, opens: str) -> None:
    assert NIGHT.next_opening(at(now)) == at(opens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": "22-5"}, 'hours: expected two different times of the day such as "22:00-05:00", got "22-5"'),
        ({"hours": "24:00-05:00"}, 'hours: expected two different times of the day such as "22:00-05:00"'),
        ({"hours": "05:00-05:00"}, 'hours: expected two different times of the day such as "22:00-05:00"'),
        ({"hours": "22:00-05:00", "days": ["monday"]}, "days: expected a list of mon, tue"),
        ({"hours": "22:00-05:00", "days": []}, "days: expected a list of mon, tue"),
    ],
)
def test_window_with_an_invalid_time_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse({"windows": {"night": {"kinds": ["*"]} | options}})
    assert message in str(caught.value)
