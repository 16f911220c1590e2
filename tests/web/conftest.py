"""Fixtures of one browser and one agent for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess
from tests.trust.guarded import THREE, table, write_tokens
from tests.web.browser import browser as browser
from tests.web.people import BOSS, BOSS_TOKEN, Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """An agent with authentication, kinds held by maintenance, and approvals."""
    directory = tmp_path_factory.mktemp("node")
    started = Node(directory, config=configuration(directory))
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def open_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent without authentication, with an unreachable receiver of callbacks."""
    kinds = '[agent]\nkinds = ["tests.web.own_kinds"]\n[callbacks]\nurls = ["http://127.0.0.1:1/a-token"]\n'
    started = AgentProcess(tmp_path_factory.mktemp("open"), config=kinds).start()
    yield started
    started.close()


def configuration(directory: Path) -> str:
    boss = table(BOSS, BOSS_TOKEN, ["*"]) + 'permissions = ["approve"]\n'
    tokens = write_tokens(directory / "tokens.toml", THREE + boss)
    return f"""
[agent]
node = "db-1.example.com"
kinds = ["tests.web.own_kinds", "tests.kinds.effects"]
[api]
tokens = "{tokens}"
[maintenance]
flag = "{directory}/maintenance"
holds = ["tests.flush"]
[actions]
approval = ["tests.drop"]
"""
