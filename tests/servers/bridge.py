"""A network for several nodes: a bridge in a network namespace of its own, without a way to any other network."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from pathlib import Path
from typing import Self

from tests.servers.process import run

CLONE_NEWNET = 0x40000000
NETWORK, SELF, FIRST = "192.0.2", 1, 11


class Bridge:
    """The namespace `name` with the bridge; what runs there has the address .1 and reaches all nodes. Needs root."""

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
        """A network namespace for a node, with one link to the bridge; its name."""
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
        """Let no packet of this member through."""
        self._inside("link", "set", member, "down")

    def mend(self, member: str) -> None:
        """Connect it again."""
        self._inside("link", "set", member, "up")

    def enter(self) -> None:
        """Move this thread, and what it starts, into the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(namespace, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"entering {self.name}")
        finally:
            os.close(namespace)

    def close(self) -> None:
        """Remove all of it."""
        for name in (*(f"{self.name}-{member}" for member in self.members), self.name):
            if Path("/run/netns", name).exists():
                subprocess.run(["ip", "netns", "delete", name], check=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _inside(self, *words: str) -> None:
        run(["ip", "-n", self.name, *words])
