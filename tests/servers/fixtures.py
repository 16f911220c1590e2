"""The servers as pytest fixtures; load them with pytest_plugins = ["tests.servers.fixtures"]."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.servers.agent_venv import shared_agent_venv
from tests.servers.docker import DockerEngine
from tests.servers.leftovers import left_in
from tests.servers.mariadb import MariaDBServer
from tests.servers.mongodb import MongoServer
from tests.servers.mysql import MySQLServer
from tests.servers.node import Node
from tests.servers.packages import shared_packages
from tests.servers.podman import PodmanEngine
from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that
from tests.servers.redis import RedisServer


@pytest.fixture
def server_dir() -> Iterator[Path]:
    """A directory for a server's files: a short path, open to other users, removed at the end."""
    yield from temporary_directory()


@pytest.fixture(scope="module")
def module_dir() -> Iterator[Path]:
    """A directory like `server_dir` for a whole module."""
    yield from temporary_directory()


@pytest.fixture
def redis_server(server_dir: Path) -> Iterator[RedisServer]:
    """An empty Redis without password that writes everything to its append-only file."""
    with RedisServer(server_dir / "redis") as server:
        yield server


@pytest.fixture(scope="module")
def postgres_server(module_dir: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL primary for a whole module."""
    with PostgresServer(module_dir / "pg") as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_server(module_dir: Path) -> Iterator[MariaDBServer]:
    """A MariaDB primary for a whole module."""
    with MariaDBServer(module_dir / "mariadb") as server:
        yield server


@pytest.fixture(scope="module")
def mysql_server(module_dir: Path) -> Iterator[MySQLServer]:
    """A MySQL primary for a whole module."""
    with MySQLServer(module_dir / "mysql") as server:
        yield server


@pytest.fixture(scope="module")
def mongo_server(module_dir: Path) -> Iterator[MongoServer]:
    """A server of MongoDB's protocol for a whole module."""
    with MongoServer(module_dir / "mongodb") as server:
        yield server


@pytest.fixture(scope="module")
def docker_engine(module_dir: Path) -> Iterator[DockerEngine]:
    """A Docker Engine for a whole module, with the image busybox:1."""
    with DockerEngine(module_dir / "docker") as engine:
        engine.import_busybox()
        yield engine


@pytest.fixture(scope="module")
def podman_engine(module_dir: Path) -> Iterator[PodmanEngine]:
    """A podman for a whole module, with the image busybox:1."""
    with PodmanEngine(module_dir / "podman") as engine:
        engine.import_busybox()
        yield engine


@pytest.fixture(scope="session")
def agent_venv() -> Iterator[Path]:
    """A virtualenv with the checkout and all its extras, visible in nodes; request this fixture before a node."""
    with shared_agent_venv(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))) as venv:
        yield venv


@pytest.fixture(scope="session")
def packages() -> Iterator[Path]:
    """A folder with the wheel, the sdist, the .deb and the .rpm of the checkout, built once for a test run."""
    with shared_packages(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))) as folder:
        yield folder


@pytest.fixture(scope="module")
def start_node() -> Iterator[Callable[..., Node]]:
    """Boot nodes with the options of `Node`; all of them end with the module."""
    with ExitStack() as nodes:

        def start(name: str = "node", **options: Any) -> Node:
            return nodes.enter_context(Node(name, **options))

        yield start


def temporary_directory() -> Iterator[Path]:
    """Unix sockets hold 107 characters, and root's pytest directory is closed to postgres.

    Leftovers of a server fail the test; a finished command gets a moment to end.
    """
    path = Path(tempfile.mkdtemp(prefix="agent-"))
    path.chmod(0o755)
    yield path
    with suppress(TimeoutError):
        await_that(lambda: not left_in(str(path)), 10)
    left = left_in(str(path))
    shutil.rmtree(path)
    assert left == []
