"""Fixtures of container engines, emptied after each test, of their agents, and of a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.agent_process import AgentProcess
from tests.kinds.configuring import toml
from tests.kinds.engines import NODE, driving, remove_all
from tests.servers.docker import DockerEngine
from tests.web.browser import browser as browser

Drive = Callable[[DockerEngine], AgentProcess]


@pytest.fixture
def docker(docker_engine: DockerEngine) -> Iterator[DockerEngine]:
    """A Docker Engine without containers."""
    yield docker_engine
    remove_all(docker_engine)


@pytest.fixture(params=["docker_engine", "podman_engine"])
def engine(request: pytest.FixtureRequest) -> Iterator[DockerEngine]:
    """A Docker Engine, and then a podman, both without containers."""
    engine: DockerEngine = request.getfixturevalue(request.param)
    yield engine
    remove_all(engine)


@pytest.fixture(scope="module")
def driver_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """The agent that uses an engine, one for a whole module."""
    agents: dict[str, AgentProcess] = {}
    with ExitStack() as ended:

        def drive(engine: DockerEngine) -> AgentProcess:
            if engine.name not in agents:
                document = driving(engine) | {"agent": {"node": NODE}}
                agent = AgentProcess(tmp_path_factory.mktemp(engine.name), config=toml(document)).start()
                agents[engine.name] = ended.enter_context(closing(agent))
            return agents[engine.name]

        yield drive
