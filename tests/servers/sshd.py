"""A real OpenSSH server, for git over ssh."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.process import free_port, is_root, program, run
from tests.servers.server import Server, in_background

PRIVILEGES_DROPPED = Path("/run/sshd")  # required by root's sshd; on a booted system its unit creates it


class SshServer(Server):
    """One sshd on 127.0.0.1 with its own host key. root can log in with the keys in `authorized`."""

    name = "sshd"

    def __init__(self, dir: Path) -> None:
        self.dir = dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.pidfile = dir / "sshd.pid"
        self.log = dir / "sshd.log"
        self.authorized = dir / "authorized_keys"
        self.config = dir / "sshd_config"
        self.host_key = new_key(dir / "host_key")
        self.key = new_key(dir / "key")
        """An accepted private key."""
        self.known = dir / "known_hosts"
        """A file of known hosts with only this server."""
        self.authorized.write_text(public(self.key))
        self.known.write_text(f"[127.0.0.1]:{self.port} {public(self.host_key)}")
        self.config.write_text(self._settings())

    @property
    def options(self) -> dict[str, str]:
        """Options of an application: its key and its known hosts."""
        return {"ssh_key": str(self.key), "known_hosts": str(self.known)}

    def url(self, path: Path) -> str:
        """The address of a repository of this machine."""
        return f"ssh://root@127.0.0.1:{self.port}{path}"

    @property
    def start_command(self) -> list[str]:
        """Starts it in the background; it writes its pidfile once it listens."""
        if is_root():
            PRIVILEGES_DROPPED.mkdir(mode=0o755, exist_ok=True)
        argv = [program("sshd"), "-D", "-e", "-f", str(self.config)]
        return in_background(argv, pidfile=self.pidfile, log=self.log)

    def answers(self) -> bool:
        """Whether it sends its greeting."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                return client.recv(4) == b"SSH-"
        except ConnectionError:
            return False

    def _settings(self) -> str:
        lines = [
            "ListenAddress 127.0.0.1",
            f"Port {self.port}",
            f"HostKey {self.host_key}",
            f"PidFile {self.pidfile}",
            f"AuthorizedKeysFile {self.authorized}",
            "AuthenticationMethods publickey",
            "StrictModes no",
            "UsePAM no",
            "PrintMotd no",
        ]
        return "\n".join(lines) + "\n"


def new_key(file: Path) -> Path:
    """A new private key without a passphrase in this file, with its public one beside it."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", file])
    return file


def public(key: Path) -> str:
    """The line that is the public part of a private key."""
    return key.with_name(f"{key.name}.pub").read_text()
