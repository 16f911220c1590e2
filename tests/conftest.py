"""Agents to test against, their logs where a test fails, and room for the tests that need all of it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import AgentProcess, StartAgent

pytest.register_assert_rewrite("tests.conformance.shapes")

pytest_plugins = ["tests.servers.fixtures"]

GATE, ROOM = Path(__file__), Path(__file__).parent  # locked; nothing is written
STARTED = pytest.StashKey[list[AgentProcess]]()


@pytest.fixture
def start_agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartAgent]:
    """Start agents with the options of `AgentProcess`, on a state each; they end with the test."""
    agents = request.node.stash.setdefault(STARTED, [])

    def start(**options: Any) -> AgentProcess:
        directory = tmp_path / f"agent-{len(agents)}"
        directory.mkdir()
        started = AgentProcess(directory, **options)
        agents.append(started)
        return started.start()

    yield start
    close_all(agents)


@pytest.fixture
def agent(start_agent: StartAgent) -> AgentProcess:
    """A fresh agent."""
    return start_agent()


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for all tests of a module that only add to it and bring to an end what they add."""
    started = AgentProcess(tmp_path_factory.mktemp("shared")).start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def busy_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for a module whose running action goes on for ever: what is scheduled stays NEW."""
    started = AgentProcess(tmp_path_factory.mktemp("busy")).start()
    started.occupy()
    yield started
    started.close()


def close_all(agents: list[AgentProcess]) -> None:
    """Close every one of them, also when closing another fails."""
    if agents:
        try:
            agents[0].close()
        finally:
            close_all(agents[1:])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked `alone`, as it measures short times, while the other workers run none."""
    alone = item.get_closest_marker("alone") is not None
    # Whoever waits to be alone holds the gate, so that those who are not cannot keep him waiting for ever.
    with locked(GATE, fcntl.LOCK_EX) as gate, locked(ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@contextmanager
def locked(path: Path, how: int) -> Iterator[int]:
    """The descriptor of a file or directory while it is locked."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a failed test's agents."""
    report = yield
    if report.failed:
        for each in agents_of(item):
            report.sections.append((f"log of {each.directory.name}", each.log_text()[-20000:]))
    return report


def agents_of(item: pytest.Item) -> list[AgentProcess]:
    """The agents that a test has started or shares."""
    values = getattr(item, "funcargs", {}).values()
    shared = [value for value in values if isinstance(value, AgentProcess)]
    return list(dict.fromkeys(item.stash.get(STARTED, []) + shared))
