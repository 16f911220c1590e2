"""Fixtures of agents with authentication, stopped at the end of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess
from tests.conftest import STARTED, close_all
from tests.trust.certificates import Authority
from tests.trust.guarded import DBA_TOKEN, Guarded, write_tokens
from tests.trust.slow_clients import Slow, slow_clients


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """Three identities: one with all permissions, one with some, one that only reads."""
    return write_tokens(tmp_path / "tokens.toml")


@pytest.fixture
def start_guarded(tmp_path: Path, tokens_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Start an agent with these identities; calls use the one with all permissions."""
    agents = request.node.stash.setdefault(STARTED, [])

    def start(config: str = "", *, everywhere: bool = False, **options: Any) -> Guarded:
        directory = tmp_path / f"guarded-{len(agents)}"
        directory.mkdir()
        guarded = Guarded(directory, config=f'[api]\ntokens = "{tokens_file}"\n{config}', **options)
        guarded.token = DBA_TOKEN
        if everywhere:
            guarded.env["AGENT_BIND"] = f"0.0.0.0:{guarded.port}"
        agents.append(guarded)
        guarded.start()
        return guarded

    yield start
    close_all(agents)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One agent for all tests of a module; it is called without a token unless a test gives one."""
    directory = tmp_path_factory.mktemp("guarded")
    file = write_tokens(directory / "tokens.toml")
    shared = Guarded(directory, config=f'[api]\ntokens = "{file}"\n')
    shared.start()
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the server and the callers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority of the same name, which the agent does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def slow(agent: AgentProcess) -> Iterator[Callable[..., Slow]]:
    """Begin slow clients of the agent, with the options of `Slow`."""
    with slow_clients(agent) as begin:
        yield begin
