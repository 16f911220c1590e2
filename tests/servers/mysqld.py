"""The common part of the MariaDB and MySQL servers; their SQL for replication differs."""

from __future__ import annotations

import secrets
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Self

from tests.servers.process import await_that, free_port, is_root, kill_pid, open_to, run
from tests.servers.server import Server, in_background

GREETING = b"\x0a"  # the version of the protocol, after the length and number of the packet; an error has 0xff
OWNER = "mysql"  # the user of the server if root starts it

SETTINGS = """
bind_address = 127.0.0.1
log_bin = bin
skip_name_resolve = 1
sync_binlog = 0
innodb_flush_log_at_trx_commit = 0
performance_schema = 0
"""


class Mysqld(Server):
    """One server of the family on a unix socket in `dir` and 127.0.0.1, everything in GTID mode.

    root enters by the socket without a password. Port and paths are in the configuration file
    beside `data`, so they stay its own when `data` is copied from another server.
    """

    settings: str  # lines of the configuration file, for this product only

    def __init__(self, dir: Path) -> None:
        self.dir = open_to(OWNER, dir)
        self.data = dir / "data"
        self.socket = dir / "mysqld.sock"
        self.pidfile = dir / "mysqld.pid"
        self.log = dir / "mysqld.log"
        self.config = dir / "my.cnf"
        self.port = free_port()
        self.replication_password = secrets.token_urlsafe(16)  # 32 characters at most
        self.config.write_text(self._settings())

    @property
    def server(self) -> Path:
        """The server's program."""
        raise NotImplementedError

    @property
    def client(self) -> Path:
        """The command line client's program."""
        raise NotImplementedError

    def create(self) -> Self:
        """Make an empty data directory; the server stays down."""
        raise NotImplementedError

    def follow(self, primary: Self) -> None:
        """Replicate from `primary`, read-only; its whole history if this server is empty."""
        raise NotImplementedError

    def executed(self) -> str:
        """The GTIDs of the transactions that this server has written or applied."""
        raise NotImplementedError

    def has_executed(self, gtids: str) -> bool:
        """Whether this server has applied all of them; waits for at most a second."""
        raise NotImplementedError

    def start(self) -> Self:
        """Create the server if it does not exist, and start it; RuntimeError with its log if the start fails."""
        if self.data.exists():
            return super().start()
        self.create()
        super().start()
        return self

    def allow_replication(self) -> None:
        """Create the account replicator if it does not exist."""
        self.sql(
            "create user if not exists replicator@'127.0.0.1' "
            f"identified by '{self.replication_password}'; "
            "grant replication slave on *.* to replicator@'127.0.0.1'"
        )

    def replica(self, dir: Path) -> Self:
        """A running replica of this running server, in step with it."""
        self.allow_replication()
        replica = type(self)(dir)
        replica.replication_password = self.replication_password
        with replica.closed_on_error():
            replica.start()
            replica.follow(self)
            replica.await_replica(self)
        return replica

    def await_replica(self, primary: Self, timeout: float = 20) -> None:
        """Wait until this replica has applied everything that its primary has written so far."""
        written = primary.executed()
        await_that(lambda: self.has_executed(written), timeout, "the replica to catch up")

    def sql(self, statements: str, *options: str) -> str:
        """The output of the client for statements of root, separated by tabs; RuntimeError if it fails."""
        argv = [
            str(self.client),
            "--no-defaults",
            "--user=root",
            f"--socket={self.socket}",
            "--batch",
        ]
        names = [] if options else ["--skip-column-names"]
        return run([*argv, *names, *options, f"--execute={statements}"]).rstrip("\n")

    def url(self, user: str, password: str, database: str = "") -> str:
        """The address of 127.0.0.1 for clients."""
        return f"mysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def start_command(self) -> list[str]:
        """Starts it in the background; it writes its pidfile."""
        return in_background(
            [str(self.server), f"--defaults-file={self.config}"],
            pidfile=self.pidfile,
            log=self.log,
            user=OWNER if is_root() else None,
        )

    def answers(self) -> bool:
        """Whether it sends its greeting. A client program would use as much processor time as the server's start."""
        with socket(AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
                return client.recv(5)[4:] == GREETING
            except OSError:
                return False

    def close(self) -> None:
        """Kill the server and remove its files: a clean shutdown would take seconds."""
        kill_pid(self.pid)
        super().close()

    def as_owner(self, *argv: str) -> list[str]:
        """The command that runs argv as the server's owner."""
        return [*(["runuser", "-u", OWNER, "--"] if is_root() else []), *argv]

    def _settings(self) -> str:
        """The configuration file's text."""
        own = {
            "datadir": self.data,
            "tmpdir": self.dir,  # a starting server removes all temporary tables there, also those of other servers
            "socket": self.socket,
            "pid_file": self.pidfile,
            "port": self.port,
            "server_id": self.port,
            "report_host": "127.0.0.1",
            "report_port": self.port,
        }
        lines = "".join(f"{option} = {value}\n" for option, value in own.items())
        return f"[mysqld]\n{lines}{SETTINGS}{self.settings}"
