"""Fixtures of agents, their logs after a failed test, and the whole machine for tests that need it."""

from __future__ import annotations

import compileall
import fcntl
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import CHECKOUT, AgentProcess, StartAgent
from tests.servers.process import locked
from tests.warm_start import WarmStart

pytest.register_assert_rewrite("tests.conformance.shapes")

pytest_plugins = ["tests.temporary", "tests.order", "tests.fast", "tests.servers.fixtures"]

# Ends hanging tests: much longer than the longest test on a busy machine. Used by pytest-timeout if installed.
os.environ.setdefault("PYTEST_TIMEOUT", "900")

COMPILED_BY_PYTEST = re.compile(r"/(test_\w+|conftest)\.py$")
GATE, ROOM = Path(__file__), Path(__file__).parent  # locked; nothing is written
STARTED = pytest.StashKey[list[AgentProcess]]()


def pytest_configure(config: pytest.Config) -> None:
    """Compile the checkout once for all agents and commands if Python may not write bytecode."""
    if not hasattr(config, "workerinput"):
        for package in ("agent", "tests"):
            compileall.compile_dir(CHECKOUT / package, quiet=2, rx=COMPILED_BY_PYTEST)


@pytest.fixture(scope="session", autouse=True)
def warm_agents(pytestconfig: pytest.Config) -> Iterator[None]:
    """Agents are forked from a process that has imported their modules, except in tests with `cold_agents`."""
    if pytestconfig.getoption("--fast"):
        yield
        return
    AgentProcess.warm = warm = WarmStart(CHECKOUT)
    yield
    AgentProcess.warm = None
    warm.close()


@pytest.fixture
def cold_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents start as on a host: each in a new interpreter with its own imports."""
    monkeypatch.setattr(AgentProcess, "warm", None)


@pytest.fixture
def start_agent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartAgent]:
    """Start agents with the options of `AgentProcess`, each with its own state; they end with the test."""
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
    """A new agent."""
    return start_agent()


@pytest.fixture(scope="module")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for all tests of a module that only add actions and finish them."""
    started = AgentProcess(tmp_path_factory.mktemp("shared")).start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def busy_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """One agent for a module, with a running action that never ends: scheduled actions stay NEW."""
    started = AgentProcess(tmp_path_factory.mktemp("busy")).start()
    started.occupy()
    yield started
    started.close()


def close_all(agents: list[AgentProcess]) -> None:
    """Close all of them, even if closing one fails."""
    if agents:
        try:
            agents[0].close()
        finally:
            close_all(agents[1:])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked `alone`, which measures short times, while the other workers run none."""
    alone = item.get_closest_marker("alone") is not None
    # A test that waits to be alone holds the gate, so that other tests cannot delay it forever.
    with locked(GATE, fcntl.LOCK_EX) as gate, locked(ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of a failed test's agents; escape text that xdist cannot send as UTF-8."""
    report = yield
    if report.failed:
        for each in agents_of(item):
            report.sections.append((f"log of {each.directory.name}", each.log_text()[-20000:]))
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def agents_of(item: pytest.Item) -> list[AgentProcess]:
    """The agents that a test has started or shares."""
    values = getattr(item, "funcargs", {}).values()
    shared = [value for value in values if isinstance(value, AgentProcess)]
    return list(dict.fromkeys(item.stash.get(STARTED, []) + shared))
