"""A real PostgreSQL server, and its streaming replicas."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
from pathlib import Path
from urllib.parse import quote

from tests.servers.cache import cache_dir, copy_kept
from tests.servers.process import await_that, free_port, is_root, open_to, run, stop_pid
from tests.servers.server import Server

OWNER = "postgres"  # the user of the server if root starts it: PostgreSQL refuses root
DEBIAN = Path("/usr/lib/postgresql")
IDENTITIES = itertools.cycle(range(4))
"""Creating a cluster takes a second of processor time, so one cluster per identity is kept and copied."""

SETTINGS = """
listen_addresses = '127.0.0.1'
wal_level = replica
wal_log_hints = on
wal_keep_size = 128MB
max_wal_senders = 5
hot_standby = on
fsync = off
dynamic_shared_memory_type = mmap
shared_buffers = 16MB
"""


class PostgresServer(Server):
    """One PostgreSQL on a unix socket in `dir` (no password) and 127.0.0.1 (scram passwords).

    Port and socket are in `start_command`, not in the data directory: they do not change when
    `data` is copied from another server. `bin` selects the programs of another version. The roles are
    postgres, with `password`, and replicator, with `replication_password`.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions instead of waiting for them

    def __init__(self, dir: Path, *, bin: Path | None = None) -> None:
        self.dir = open_to(OWNER, dir)
        self.bin = bin or newest_debian()
        self.data = dir / "data"
        self.pidfile = self.data / "postmaster.pid"
        self.log = dir / "server.log"
        self.port = free_port()
        self.password = secrets.token_urlsafe()
        self.replication_password = secrets.token_urlsafe()

    def create(self) -> PostgresServer:
        """Create an empty, stopped cluster with an identity other than the last ones; postgres has no password yet."""
        version = run([self.bin / "postgres", "--version"]).split()[2]
        copy_kept(cache_dir() / "empty" / f"postgresql-{version}-{next(IDENTITIES)}", self.data, self._initdb)
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(SETTINGS)
        return self

    def _initdb(self) -> None:
        run(self.tool(
            "initdb", "-D", str(self.data), "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256",
            "--no-sync", "--data-checksums", "--encoding=UTF8", "--locale=C",
        ))  # fmt: skip

    def start(self) -> PostgresServer:
        """Create the server if it does not exist, and start it; RuntimeError with its log if the start fails."""
        if self.data.exists():
            return super().start()
        self.create()
        super().start()
        self.psql(
            f"alter role postgres password '{self.password}'; "
            f"create role replicator replication login password '{self.replication_password}'; "
            "grant pg_read_all_data to replicator"
        )
        return self

    def replica(self, dir: Path, slot: str = "replica") -> PostgresServer:
        """A running replica of this running server, made by pg_basebackup with its own slot."""
        replica = PostgresServer(dir, bin=self.bin)
        replica.password = self.password
        replica.replication_password = self.replication_password
        env = {**os.environ, "PGPASSWORD": self.replication_password}
        copy = replica.tool(
            "pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port), "-U", "replicator",
            "-D", str(replica.data), "-R", "-X", "stream", "-c", "fast", "-C", "-S", slot,
            "--no-sync",
        )  # fmt: skip
        with replica.closed_on_error():
            run(copy, env=env)
            return replica.start()

    def close(self) -> None:
        """Kill the server, without a last checkpoint, and remove its files."""
        stop_pid(self.pid, sig=signal.SIGQUIT)
        super().close()

    def await_streaming(self, timeout: float = 10) -> None:
        """Wait until this replica streams from its primary."""
        streaming = "select status = 'streaming' from pg_stat_wal_receiver"
        await_that(lambda: self.psql(streaming) == "t", timeout, "the replica's stream")

    def dsn(self, user: str = "postgres", database: str = "postgres", *, password: str | None = None) -> str:
        """The address for clients: 127.0.0.1 with a password, else the socket."""
        if password is not None:
            return f"postgresql://{user}:{quote(password)}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{user}@/{database}?host={quote(str(self.dir), '')}&port={self.port}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """The unaligned output of psql for `sql` as superuser; RuntimeError if it fails."""
        argv = [str(self.bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]
        return run([*argv, self.dsn(database=database)]).rstrip("\n")

    def tool(self, name: str, *args: str) -> list[str]:
        """The command that runs one of this version's programs as the server's owner."""
        as_owner = ["runuser", "-u", OWNER, "--"] if is_root() else []
        return [*as_owner, str(self.bin / name), *args]

    @property
    def start_command(self) -> list[str]:
        """Starts it with pg_ctl and returns when it accepts connections."""
        return self.tool(
            "pg_ctl", "start", "-D", str(self.data), "-l", str(self.log), "-s", "-w",
            "-o", f"-p {self.port} -k {self.dir}",
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether it accepts connections."""
        try:
            return self.psql("select 1") == "1"
        except RuntimeError:
            return False


def newest_debian() -> Path:
    """The programs of the newest PostgreSQL that Debian has installed here."""
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise FileNotFoundError("postgresql is not installed: .ci/servers installs it")
    return versions[-1].parent
