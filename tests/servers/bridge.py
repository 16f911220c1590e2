"""A network for several nodes: a bridge in its own network namespace, isolated from every other network."""

from __future__ import annotations

import ctypes
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers.process import run

CLONE_NEWNET = 0x40000000
NETWORK, SELF, FIRST = "192.0.2", 1, 11


class Bridge:
    """The namespace `name` with the bridge. Its processes have the address .1 and reach all nodes. Needs root."""

    def __init__(self) -> None:
        self.name = f"t-bridge-{secrets.token_hex(3)}"
        self.members: dict[str, str] = {}
        run(["ip", "netns", "add", self.name])
        try:
            self._inside("link", "add", "bridge", "type", "bridge")
            self._inside("address", "add", f"{NETWORK}.{SELF}/24", "dev", "bridge")
            for each in ("lo", "bridge"):
                self._inside("link", "set", each, "up")
        except BaseException:
            self.close()
            raise

    def join(self, member: str) -> str:
        """Create a network namespace for a node, with one link to the bridge; returns its name."""
        netns, number = f"{self.name}-{member}", FIRST + len(self.members)
        self.members[member] = f"{NETWORK}.{number}"
        run(["ip", "netns", "add", netns])
        self._inside("link", "add", member, "type", "veth", "peer", "name", "eth0", "netns", netns)
        self._inside("link", "set", member, "master", "bridge", "up")
        run(["ip", "-n", netns, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0"])
        run(["ip", "-n", netns, "link", "set", "eth0", "up"])
        run(["ip", "-n", netns, "link", "set", "lo", "up"])
        return netns

    def cut(self, member: str) -> None:
        """Drop every packet of this member."""
        self._inside("link", "set", member, "down")

    def mend(self, member: str) -> None:
        """Connect it again."""
        self._inside("link", "set", member, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Move this thread and its children into the namespace for the duration of the block."""
        with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{self.name}") as ours:
            _enter(ours.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def close(self) -> None:
        """Remove the namespaces and links."""
        for name in (*(f"{self.name}-{member}" for member in self.members), self.name):
            if Path("/run/netns", name).exists():
                subprocess.run(["ip", "netns", "delete", name], check=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _inside(self, *words: str) -> None:
        run(["ip", "-n", self.name, *words])


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "entering a network namespace")
