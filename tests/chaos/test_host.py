"""The short form of `python -m tests.chaos.host`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import pytest

from tests.chaos import disturbances, host
from tests.chaos.disturbances import Host

SECONDS = 100.0
"""Seconds of random disturbances, after each has happened once."""


@pytest.fixture(scope="module")
def disturbed() -> Iterator[Host]:
    with host.disturbed_host() as made:
        yield made


def test_no_action_fails_and_nothing_is_restarted_twice_while_systemd_and_dbus_are_restarted(
    disturbed: Host,
) -> None:
    assert host.torment(disturbed, 1, host.exactly(1, reexecs=15, dbus_restarts=2)).total() > 1


def test_nothing_is_lost_while_the_agent_is_killed_and_suspended_and_the_disk_is_full(disturbed: Host) -> None:
    every = [*disturbances.ALL.values()]
    happening = chain(every, host.lasting(3, SECONDS))
    assert host.torment(disturbed, 3, happening).total() >= 1
