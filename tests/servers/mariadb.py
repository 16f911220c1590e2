"""A real MariaDB server, and its replicas."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.cache import cache_dir, copy_kept
from tests.servers.mysqld import Mysqld
from tests.servers.process import program, run


class MariaDBServer(Mysqld):
    """One MariaDB of Debian."""

    name = "mariadbd"
    settings = """
gtid_strict_mode = 1
log_slave_updates = 1
slave_net_timeout = 5
innodb_buffer_pool_size = 16M
innodb_log_file_size = 8M
"""

    @property
    def server(self) -> Path:
        """The server's program."""
        return Path(program("mariadbd"))

    @property
    def client(self) -> Path:
        """The command line client's program."""
        return Path(program("mariadb"))

    def create(self) -> MariaDBServer:
        """Make an empty data directory; the server stays down."""
        version = run([self.server, "--version"]).partition(" Ver ")[2].split()[0]
        copy_kept(cache_dir() / "empty" / f"mariadb-{version}", self.data, self._install)
        return self

    def _install(self) -> None:
        run(self.as_owner(
            program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
            "--innodb-log-file-size=8M",
        ), env=os.environ | {"TMPDIR": str(self.dir)})  # fmt: skip

    def follow(self, primary: Mysqld) -> None:
        """Replicate from `primary`, read-only; its whole history if this server is empty."""
        self.sql(
            f"set global read_only=1; change master to master_host='127.0.0.1', "
            f"master_port={primary.port}, master_user='replicator', "
            f"master_password='{self.replication_password}', "
            "master_use_gtid=slave_pos, master_connect_retry=1; start slave"
        )

    def executed(self) -> str:
        """The GTID of the last transaction that this server has written or applied."""
        return self.sql("select @@gtid_current_pos")

    def has_executed(self, gtids: str) -> bool:
        """Whether this server has applied them; waits for at most a second."""
        return self.sql(f"select master_gtid_wait('{gtids}', 1)") == "0"
