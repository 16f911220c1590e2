"""A real MySQL server, and its replicas."""

from __future__ import annotations

from pathlib import Path

from tests.servers.cache import cached, copy_kept
from tests.servers.mysqld import Mysqld
from tests.servers.process import run


class MySQLServer(Mysqld):
    """One MySQL, from the programs that `.ci/servers` keeps in the cache.

    The clone plugin is installed, and replicator may clone from this server. Replication speaks the newer
    dialect only (`show replica status`).
    """

    name = "mysqld"
    start_timeout = 60.0

    @property
    def settings(self) -> str:  # type: ignore[override]
        """Lines of the configuration file."""
        usr = cached("mysql", "usr")
        return f"""
basedir = {usr}
lc_messages_dir = {usr}/share/mysql
character_sets_dir = {usr}/share/mysql/charsets
plugin_dir = {usr}/lib/mysql/plugin
plugin_load_add = mysql_clone.so
secure_file_priv = NULL
mysqlx = OFF
gtid_mode = ON
enforce_gtid_consistency = ON
innodb_buffer_pool_size = 64M
innodb_redo_log_capacity = 16M
"""

    @property
    def server(self) -> Path:
        """The server's program."""
        return cached("mysql", "usr/sbin/mysqld")

    @property
    def client(self) -> Path:
        """The command line client's program."""
        return cached("mysql", "usr/bin/mysql")

    def create(self) -> MySQLServer:
        """Make an empty data directory; the server stays down."""
        copy_kept(cached("mysql") / "empty", self.data, self._initialize)
        return self

    def _initialize(self) -> None:
        run(self.as_owner(str(self.server), f"--defaults-file={self.config}", "--initialize-insecure"))
        (self.data / "auto.cnf").unlink(missing_ok=True)  # the identity, created again at the start

    def allow_replication(self) -> None:
        """Create the account replicator if it does not exist."""
        super().allow_replication()
        self.sql("grant backup_admin on *.* to replicator@'127.0.0.1'")

    def follow(self, primary: Mysqld) -> None:
        """Replicate from `primary`, read-only; its whole history if this server is empty."""
        self.sql(
            "change replication source to source_host='127.0.0.1', "
            f"source_port={primary.port}, source_user='replicator', "
            f"source_password='{self.replication_password}', source_auto_position=1, "
            "get_source_public_key=1, source_connect_retry=1; "
            "start replica; set global super_read_only=1"
        )

    def executed(self) -> str:
        """The GTIDs of the transactions that this server has written or applied."""
        return self.sql("select replace(@@gtid_executed, '\\n', '')")

    def has_executed(self, gtids: str) -> bool:
        """Whether this server has applied all of them; waits for at most a second."""
        return self.sql(f"select wait_for_executed_gtid_set('{gtids}', 1)") == "0"
