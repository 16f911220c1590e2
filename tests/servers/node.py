"""A throw-away host with a booted systemd: nspawn over an overlay of this machine's own root."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Self

from tests.servers.leftovers import CGROUPS, remove_cgroup, unmount
from tests.servers.netns import InsideConnection
from tests.servers.process import await_that, kill_pid, program, run

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = "/opt/agent-code"  # the place of the package (`add_code`), for users who cannot read the checkout
REBOOT_ASKED = 133  # the exit status of nspawn after a reboot of the host inside
# The units that installed packages have enabled.
ENABLED = (
    "multi-user.target.wants/*.service", "default.target.wants/*.service", "sockets.target.wants/*",
    "timers.target.wants/*",
)  # fmt: skip
NAMESPACES = ("-m", "-p", "-u", "-i", "-n", "-C")

# Each nspawn has its own cgroups and its own /run/systemd/nspawn, so that nodes do not
# collide; both must exist before it starts.
ENTER = """
for cgroup in $CGROUPS; do echo $$ > "$cgroup/cgroup.procs"; done
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn && exec "$@"
"""

OF_THIS_MACHINE = ("TMPDIR",)
"""Variables whose values do not exist in a node."""


class Node:
    """A Debian host with the programs of this machine and its own disk; needs root.

    Of the installed services only `keep_units` start. `binds` are directories of this machine
    shown inside read-only, `shares` the same but writable, each "HERE" or "HERE:INSIDE". `disk`
    limits the size of the node's files. Without `freezer` its systemd cannot freeze units. /tmp and /run
    inside are its own. Its disk survives reboots and power cuts; `close` removes it.
    """

    def __init__(
        self,
        name: str = "node",
        *,
        binds: Sequence[str] = (),
        shares: Sequence[str] = (),
        keep_units: Sequence[str] = (),
        netns: str | None = None,
        disk: str = "2g",
        freezer: bool = True,
    ) -> None:
        self.name = name
        self.freezer = freezer
        self.binds, self.shares, self.netns = list(binds), list(shares), netns
        cgroup = f"t-{name}-{secrets.token_hex(3)}"
        # the same in both hierarchies: nspawn looks in one for what it is in in the other
        self.cgroups = [parent / cgroup for parent in cgroup_parents()]
        self.dir = Path(tempfile.mkdtemp(prefix=f"node-{name}-"))
        self.root = self.dir / "root"
        self.console = self.dir / "console.log"
        self._nspawn: subprocess.Popen[bytes] | None = None
        try:
            self._make_disk(disk)
            self._make_host(keep_units)
        except BaseException:
            self.close()
            raise

    def boot(self, timeout: float = 30) -> Self:
        """Boot the node and wait until systemd has started its units.

        On failure the node is switched off; RuntimeError with the end of its console.
        """
        with self.console.open("ab") as console:
            self._nspawn = self._start_nspawn(console)
        try:
            await_that(self._settled, timeout, f"the boot of {self.name}")
            if self._nspawn.poll() is not None:
                raise RuntimeError(f"nspawn ended with {self._nspawn.returncode}")
        except (RuntimeError, TimeoutError) as error:
            tail = self.console.read_text(errors="replace")[-2000:]
            self.power_cut()
            raise RuntimeError(f"{error}\n{tail}") from error
        return self

    def run(
        self, *argv: str, timeout: float = 30, user: str | None = None, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run argv inside, as root or as `user`; the caller checks the exit status.

        RuntimeError if the node is off: the command never runs on this machine instead.
        """
        as_user = ["runuser", "-u", user, "--"] if user else []
        return subprocess.run(
            [program("nsenter"), "-t", str(self._inside()), *NAMESPACES, "--", *as_user, *argv],
            capture_output=True, text=True, timeout=timeout, input=input or "",
            env={name: value for name, value in os.environ.items() if name not in OF_THIS_MACHINE},
        )  # fmt: skip

    def systemctl(self, *args: str) -> str:
        """The output of systemctl inside; RuntimeError if it fails."""
        done = self.run("systemctl", *args)
        if done.returncode:
            raise RuntimeError(f"systemctl {' '.join(args)}: {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def show(self, unit: str, what: str) -> str:
        """One property of a unit, such as ActiveState or MainPID."""
        return self.systemctl("show", unit, "-p", what, "--value")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, owned by root, with its parent directories. Also possible while the node is off."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.path(path).read_text()

    def path(self, inside: str) -> Path:
        """The path on this machine of a file, directory or unix socket of the node.

        Not through absolute symbolic links inside, which would resolve on this machine: name the file itself.
        """
        leader = self.leader
        return (Path(f"/proc/{leader}/root") if leader else self.root) / inside.lstrip("/")

    def add_code(self) -> None:
        """Copy the agent's package to a place from which every user inside can import it."""
        shutil.copytree(CHECKOUT / "agent", self.path(f"{CODE}/agent"), dirs_exist_ok=True)
        self.run("chmod", "-R", "a+rX", CODE)

    def http(self, port: int, timeout: float = 10) -> HTTPConnection:
        """A connection to the HTTP server on 127.0.0.1:port inside, used from the test itself."""
        return InsideConnection(self._inside(), port, timeout)

    def curl(self, *args: str) -> str:
        """The output of curl inside; RuntimeError if it fails (HTTP errors included)."""
        done = self.run("curl", "--silent", "--show-error", "--fail-with-body", *args)
        if done.returncode:
            raise RuntimeError(f"curl ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    @property
    def leader(self) -> int | None:
        """The pid on this machine of the systemd inside; None while the node is off."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return None
        nspawn = self._nspawn.pid
        try:
            children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
            leader = int(children[0])
            its, ours = (Path(f"/proc/{who}/ns/pid").readlink() for who in (leader, "self"))
        except (OSError, IndexError):
            return None
        return leader if its != ours else None  # at first the child is still in the namespaces of this machine

    def reboot(self, timeout: float = 60) -> Self:
        """Reboot the node cleanly with systemd and wait until it is up again; the disk is kept."""
        self.run("systemctl", "reboot")
        return self.boot_after_reboot(timeout)

    def boot_after_reboot(self, timeout: float = 60) -> Self:
        """Wait until the node is down after a reboot requested inside, and boot it again like the firmware."""
        status = self.wait_off(timeout)
        if status != REBOOT_ASKED:
            raise RuntimeError(f"{self.name} did not ask for a reboot: nspawn ended with {status}")
        return self.boot(timeout)

    def wait_off(self, timeout: float = 30) -> int:
        """Wait until the node is off; 0 is a power-off, 133 a reboot."""
        if self._nspawn is None:
            raise RuntimeError(f"{self.name} was never on")
        return self._nspawn.wait(timeout)

    def ended_with(self) -> int | None:
        """Like `wait_off` without waiting; None while the node is on."""
        return self._nspawn.poll() if self._nspawn else None

    def power_cut(self) -> None:
        """Switch the node off without any notice to its processes."""
        kill_pid(self.leader)
        if self._nspawn is None:
            return
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(10)

    def close(self) -> None:
        """Switch it off at once and remove its disk, its mounts and its cgroups; may be called twice."""
        try:
            self.power_cut()
        finally:
            for mount in (self.root, self.dir):
                unmount(mount)
            for cgroup in self.cgroups:
                remove_cgroup(cgroup)
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.boot()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_disk(self, size: str) -> None:
        """Lay an empty writable layer over this machine's root."""
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", self.dir])
        for part in ("root", "upper", "work"):
            (self.dir / part).mkdir()
        layers = f"lowerdir=/,upperdir={self.dir}/upper,workdir={self.dir}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root])

    def _make_host(self, keep_units: Sequence[str]) -> None:
        """Give the node its own identity and only the selected services."""
        self.write("/etc/machine-id", "")
        self.write("/etc/hostname", f"{self.name}\n")
        for wanted in ENABLED:
            for unit in (self.root / "etc/systemd/system").glob(wanted):
                if unit.name not in keep_units:
                    unit.unlink()

    def _start_nspawn(self, console: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start nspawn in separate mounts and cgroups."""
        for cgroup in self.cgroups:
            cgroup.mkdir(exist_ok=True)
        network = f"--network-namespace-path=/run/netns/{self.netns}"
        nspawn = [
            program("systemd-nspawn"), "--quiet", f"--directory={self.root}", "--boot",
            "--register=no", "--keep-unit", "--console=pipe", f"--machine={self.name}",
            network if self.netns else "--private-network",
            *(f"--bind-ro={bind}" for bind in self.binds),
            *(f"--bind={share}" for share in self.shares),
        ]  # fmt: skip
        return subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-ec", ENTER, "enter", *nspawn],
            env={
                "PATH": os.environ["PATH"],
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": str(int(self.freezer)),
                "CGROUPS": " ".join(map(str, self.cgroups)),
            },
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
        )  # fmt: skip

    def _settled(self) -> bool:
        """Whether the boot has ended, successfully or not."""
        if self._nspawn is None or self._nspawn.poll() is not None:
            return True
        if not self.leader or not self.path("/run/dbus/system_bus_socket").exists():
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def _inside(self) -> int:
        leader = self.leader
        if leader is None:
            raise RuntimeError(f"{self.name} is off")
        return leader


def cgroup_parents() -> list[Path]:
    """The hierarchies of systemd and of cgroups v2, as far as they exist."""
    hybrid = [CGROUPS / "systemd", CGROUPS / "unified"]
    return hybrid if hybrid[1].is_dir() else [CGROUPS]
