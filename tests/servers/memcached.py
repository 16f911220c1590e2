"""A real memcached."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import free_port, program
from tests.servers.server import Server

USER = "nobody"
"""The user that memcached switches to if root starts it."""


class MemcachedServer(Server):
    """One memcached on a unix socket in `dir`, or with `tcp` on a free port of 127.0.0.1; `options`: more arguments."""

    name = "memcached"

    def __init__(self, dir: Path, *, tcp: bool = False, options: Sequence[str] = ()) -> None:
        self.dir = dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o777)  # it creates its socket and its pidfile as nobody
        self.port = free_port() if tcp else None
        self.socket = dir / "memcached.sock"
        self.pidfile = dir / "memcached.pid"
        self.log = dir / "memcached.log"
        self.options = tuple(options)

    @property
    def url(self) -> str:
        """Its address in the form of `[caches.NAME]`."""
        return f"unix://{self.socket}" if self.port is None else f"memcached://127.0.0.1:{self.port}"

    @property
    def start_command(self) -> list[str]:
        """Starts the server as a daemon that writes its pidfile."""
        at = ["-s", str(self.socket)] if self.port is None else ["-l", "127.0.0.1", "-p", str(self.port)]
        return [program("memcached"), "-d", "-u", USER, "-P", str(self.pidfile), *at, *self.options]

    def answers(self) -> bool:
        """Whether it answers with its version and has written its pidfile, the later of the two."""
        try:
            return self.pid is not None and self.ask("version").startswith("VERSION")
        except OSError:
            return False

    def set(self, key: str, value: str) -> None:
        """Store an item."""
        assert self.ask(f"set {key} 0 0 {len(value)}\r\n{value}") == "STORED"

    def get(self, key: str) -> str | None:
        """The value of an item; None if it does not exist."""
        lines = self.ask(f"get {key}", until="END").splitlines()
        return lines[1] if len(lines) > 2 else None

    def ask(self, command: str, until: str = "") -> str:
        """The answer without the last line break: one line, or all lines up to the line `until`."""
        family, where = (socket.AF_UNIX, str(self.socket)) if self.port is None else _at(self.port)
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(10)
            connection.connect(where)
            connection.sendall(f"{command}\r\n".encode())
            answer = b""
            while not answer.endswith(f"{until}\r\n".encode()):
                answer += connection.recv(65536)
        return answer.decode().removesuffix("\r\n")


def _at(port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    return socket.AF_INET, ("127.0.0.1", port)
