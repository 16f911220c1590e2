"""The short form of `python -m tests.chaos.host`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from tests.agent_inside import AgentInside
from tests.chaos import disturbances, host
from tests.servers.node import Node
from tests.supervisors.asking import BINDS

SECONDS = 100.0
"""How long all disturbances last, in their order of chance; before it each of them comes once."""


@pytest.fixture(scope="module")
def agent(start_node: Callable[..., Node]) -> Iterator[AgentInside]:
    agent = host.prepare(start_node("chaos", binds=BINDS, disk=host.DISK))
    yield agent
    agent.close()


def test_no_action_fails_and_nothing_is_restarted_twice_while_systemd_and_dbus_are_restarted(
    agent: AgentInside,
) -> None:
    assert host.torment(agent, 1, host.exactly(1, reexecs=15, dbus_restarts=2)).total() > 1


def test_nothing_is_lost_while_the_agent_is_killed_and_suspended_and_the_disk_is_full(agent: AgentInside) -> None:
    every = [*disturbances.ALL.values()]
    disturbed = chain(every, host.lasting(3, SECONDS))
    assert host.torment(agent, 3, disturbed).total() >= 1
