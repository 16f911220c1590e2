"""Health checks of podman, which timers of systemd run: in a node with systemd, and here without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.kinds.base import Failed
from agent.kinds.container_restart import ContainerRestart
from tests.agent_process import StartAgent
from tests.kinds.configuring import settings, toml
from tests.kinds.engines import await_starts, done, driving, failure, remove_all, run
from tests.kinds.performing import perform
from tests.servers.docker import DockerEngine, write_busybox
from tests.servers.node import Node
from tests.servers.podman import CONTAINERS_CONF, STORAGE_CONF, PodmanEngine
from tests.servers.process import await_that
from tests.servers.server import in_background

KIND = "container_restart"
DIRECTORY = "/srv/podman"  # in memory: podman cannot mount an overlay on the overlay of the node
CHECK = ("--health-cmd", "test -e /ok", "--health-interval", "1s")


class PodmanOfNode(DockerEngine):
    """The podman of a node, configured for the whole host."""

    name = "podman"

    def __init__(self, node: Node) -> None:
        self.node = node
        self.socket = node.path("/run/podman.sock")
        node.run("mount", "--mkdir", "-t", "tmpfs", "tmpfs", DIRECTORY)
        for name, text in (("containers", CONTAINERS_CONF), ("storage", STORAGE_CONF)):
            node.write(f"/etc/containers/{name}.conf", text.format(dir=DIRECTORY))
        # Without a unit: nspawn restricts units more than a health check permits.
        argv = ["/usr/bin/podman", "system", "service", "--time=0", "unix:///run/podman.sock"]
        node.run(*in_background(argv, pidfile=Path("/run/p.pid"), log=Path("/run/p.log"), make_pidfile=True))
        await_that(self.socket.exists, 10, "the socket of podman")

    def cli(self, *args: str) -> str:
        """The output of podman in the node; RuntimeError if it fails."""
        ended = self.node.run("podman", *args)
        if ended.returncode:
            raise RuntimeError(f"podman {' '.join(args)}: {ended.stderr}")
        return ended.stdout


@pytest.fixture
def podman(start_node: Callable[..., Node]) -> Iterator[PodmanOfNode]:
    """A podman with the image busybox:1."""
    node = start_node("podman")
    engine = PodmanOfNode(node)
    write_busybox(node.path(f"{DIRECTORY}/busybox.tar"))
    engine.cli("import", f"{DIRECTORY}/busybox.tar", "busybox:1")
    yield engine
    remove_all(engine)


def test_health_check_run_by_systemd_is_awaited(podman: PodmanOfNode, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(driving(podman) | {"host": {"timeout": 30}}))
    options = (*CHECK, "--pids-limit=0", "--health-retries")  # a node has no controller of pids
    run(podman, "well", does="busybox rm -f /ok; sleep 1; echo > /ok; ", options=(*options, "9"))
    run(podman, "ill", options=(*options, "2"))
    assert done(agent, KIND, {"container": "well"})["message"] == "running (healthy)"
    assert failure(agent, KIND, {"container": "ill"}) == "the container ill was restarted and is unhealthy"
    await_starts(podman, {"well": 2, "ill": 2})


def test_health_check_that_never_runs_fails_the_action(podman_engine: PodmanEngine) -> None:
    run(podman_engine, "well", does="echo > /ok; ", options=CHECK)
    kind = ContainerRestart(settings(driving(podman_engine) | {"host": {"timeout": 1.5}}))
    ended = perform(kind, args={"container": "well"})[-1]
    assert isinstance(ended, Failed)
    why = "runs, but its health check has not passed 1.5 s after its restart: running (starting)"
    assert ended.message == f"the container well {why}"
    await_starts(podman_engine, {"well": 2})
