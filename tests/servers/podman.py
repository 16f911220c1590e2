"""A real podman of its own whose API listens on a unix socket, as the Docker Engine's does."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.servers.docker import DockerEngine
from tests.servers.process import program, run
from tests.servers.server import in_background

# runc and lower limits: neither the limits that podman would set nor crun suit every host that tests run on.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{dir}/tmp"
static_dir = "{dir}/libpod"
volume_path = "{dir}/volumes"
"""
STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{dir}/root"
runroot = "{dir}/run"
"""


class PodmanEngine(DockerEngine):
    """One podman API service with all its state in `dir`; driven as the Docker Engine of the tests is."""

    name = "podman"

    def __init__(self, dir: Path) -> None:
        super().__init__(dir)
        self.socket = dir / "podman.sock"
        self.pidfile = dir / "podman.pid"
        self.log = dir / "podman.log"
        for name, text in (("containers", CONTAINERS_CONF), ("storage", STORAGE_CONF)):
            (dir / f"{name}.conf").write_text(text.format(dir=dir))

    @property
    def start_command(self) -> list[str]:
        """Starts the API service in the background; containers need none."""
        argv = [*self._podman(), "system", "service", "--time=0", self.url]
        podman = Path(program("podman"))
        return in_background(argv, pidfile=self.pidfile, log=self.log, make_pidfile=True, executable=podman)

    def answers(self) -> bool:
        """Whether its API answers."""
        try:
            return bool(run([program("podman"), "--url", self.url, "version", "--format", "{{.Server.Version}}"]))
        except RuntimeError:
            return False

    def cli(self, *args: str) -> str:
        """What podman prints, without the last newline; RuntimeError if it fails."""
        return run([*self._podman(), *args]).rstrip("\n")

    def check(self, name: str) -> None:
        """Run a container's health check, as a timer of systemd's does where there is one."""
        with suppress(RuntimeError):  # unhealthy, or not running just now
            self.cli("healthcheck", "run", name)

    def _podman(self) -> list[str]:
        configuration = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        environment = [f"{name}={self.dir}/{file}" for name, file in configuration.items()]
        return [program("env"), *environment, program("podman")]
