"""Fixtures of agents that accept any request: their kinds do no harm and never block."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent_process import AgentProcess
from tests.fuzz.harmless import CONFIG


@pytest.fixture(scope="module")
def harmless_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for all requests of a module."""
    started = AgentProcess(tmp_path_factory.mktemp("harmless"), config=CONFIG).start()
    yield started
    started.close()
