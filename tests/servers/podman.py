"""A private real podman whose API listens on a unix socket, like that of the Docker Engine."""

from __future__ import annotations

from pathlib import Path

from tests.servers.docker import DockerEngine
from tests.servers.process import program, run
from tests.servers.server import in_background

# runc, lower limits, no keyring: podman's own limits, crun and keyrings do not work on every test host.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
keyring = false
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
    """One podman API service with all its state in `dir`; used like `DockerEngine`."""

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
        """The output of podman, without the last newline; RuntimeError if it fails."""
        return run([*self._podman(), *args]).rstrip("\n")

    def _podman(self) -> list[str]:
        configuration = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        environment = [f"{name}={self.dir}/{file}" for name, file in configuration.items()]
        return [program("env"), *environment, program("podman")]
