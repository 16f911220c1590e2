"""A private real Docker Engine: no bridge, no firewall rules, on a unix socket."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.leftovers import mounts_below, processes_using, unmount
from tests.servers.process import await_that, free_port, program, run
from tests.servers.server import Server, in_background

IDLE = ("sh", "-c", "trap exit TERM; sleep 1000 & wait")  # PID 1 ignores signals that it does not trap
BUSYBOX_TOOLS = ("sh", "sleep", "echo", "cat", "true", "false")


class DockerEngine(Server):
    """One dockerd with all its state in `dir`; its containers have the host's network or none.

    With `tcp` it also listens on a port of the loopback address; its start then takes a second longer.
    """

    name = "dockerd"

    def __init__(self, dir: Path, *, tcp: bool = False) -> None:
        self.dir = dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port() if tcp else None
        self.socket = dir / "docker.sock"
        self.pidfile = dir / "docker.pid"
        self.log = dir / "dockerd.log"

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The address of its TCP port, not encrypted."""
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def start_command(self) -> list[str]:
        """Starts it in the background; it writes its pidfile."""
        options = [
            f"--host={self.url}", f"--data-root={self.dir}/root", f"--exec-root={self.dir}/exec",
            f"--pidfile={self.pidfile}", "--bridge=none", "--iptables=false", "--ip6tables=false",
            "--ip-forward=false", "--ip-masq=false", "--shutdown-timeout=2",
        ]  # fmt: skip
        argv = [program("dockerd"), *options, *([f"--host={self.tcp_url}"] if self.port else [])]
        return in_background(argv, pidfile=self.pidfile, log=self.log)

    def answers(self) -> bool:
        """Whether its API answers."""
        try:
            return bool(self.cli("version", "--format", "{{.Server.Version}}"))
        except RuntimeError:
            return False

    def cli(self, *args: str) -> str:
        """The output of the docker client, without the last newline; RuntimeError if it fails."""
        return run([program("docker"), "--host", self.url, *args]).rstrip("\n")

    def import_busybox(self, tag: str = "busybox:1") -> str:
        """Make an image of Debian's static busybox, with no registry, and return its tag."""
        busybox = self.dir / "busybox.tar"
        write_busybox(busybox)
        self.cli("import", str(busybox), tag)
        busybox.unlink()
        return tag

    def run_container(self, name: str, *argv: str, image: str = "busybox:1", options: Sequence[str] = ()) -> str:
        """Start a container without a network that runs argv or waits for TERM; return its id."""
        own = ["--detach", "--network=none", "--name", name]
        return self.cli("run", *own, *options, image, *(argv or IDLE))

    def close(self) -> None:
        """End its containers and itself, unmount what it mounted, and remove all its files."""
        if self.pid is not None and (containers := self.cli("ps", "--all", "--quiet").split()):
            self.cli("rm", "--force", *containers)
        self.stop()
        # The cleanup that podman runs after the end of a container would mount and write again.
        with suppress(TimeoutError):
            await_that(lambda: not [*processes_using(f"{self.dir}/")], 10)
        for mount in mounts_below(f"{self.dir}/"):
            unmount(Path(mount))
        shutil.rmtree(self.dir)


def write_busybox(file: Path) -> None:
    """Write the content of an image with Debian's static busybox."""
    with tarfile.open(file, "w") as image:
        image.add(program("busybox"), "bin/busybox")
        for tool in BUSYBOX_TOOLS:
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            image.addfile(link)
