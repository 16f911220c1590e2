"""The short form of `python -m tests.chaos.host`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.agent_inside import AgentInside
from tests.chaos import host
from tests.servers.node import Node
from tests.supervisors.asking import BINDS


@pytest.fixture
def agent(start_node: Callable[..., Node]) -> Iterator[AgentInside]:
    agent = host.prepare(start_node("chaos", binds=BINDS))
    yield agent
    agent.close()


def test_no_action_fails_and_nothing_is_restarted_twice_while_systemd_and_dbus_are_restarted(
    agent: AgentInside,
) -> None:
    assert host.torment(agent, seed=1, reexecs=15, dbus_restarts=2) > 1
