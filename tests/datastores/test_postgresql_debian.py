"""A resync of a PostgreSQL run by Debian's units, with its configuration outside of the data directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from agent.datastores.resync_report import Report
from tests.servers.node import Node
from tests.servers.postgresql import newest_debian
from tests.servers.process import await_that

CONFIG = """
[agent]
node = "mine"
[service]
unit = "postgresql@{version}-mine.service"
[datastore]
kind = "postgresql"
url = "postgresql://postgres@127.0.0.1:5442/postgres"
password_file = "/etc/agent.password"
data_directory = "/var/lib/postgresql/{version}/mine"
primary = "postgresql://postgres@127.0.0.1:5443/postgres"
primary_password_file = "/etc/agent.password"
"""


class Host:
    """A node with the clusters mine and other, each with its unit."""

    def __init__(self, node: Node) -> None:
        self.node, self.version = node, newest_debian().parts[-2]

    def ok(self, *argv: str, user: str | None = None) -> str:
        done = self.node.run(*argv, user=user)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.strip()

    def sql(self, port: int, statement: str) -> str:
        done = self.node.run("psql", "-XqAt", "-p", str(port), "-c", statement, user="postgres")
        return done.stdout.strip() if done.returncode == 0 else done.stderr

    def unit(self, verb: str, cluster: str) -> None:
        self.node.systemctl(verb, f"postgresql@{self.version}-{cluster}.service")

    def create(self) -> None:
        """Mine is the primary of other, which is promoted; mine is killed. They have diverged."""
        for cluster, port in (("mine", "5442"), ("other", "5443")):
            self.ok("pg_createcluster", "-p", port, self.version, cluster, "--", "--data-checksums")
        self.unit("start", "mine")
        self.sql(5442, "ALTER ROLE postgres PASSWORD 'correct-horse'")
        other = f"/var/lib/postgresql/{self.version}/other"
        self.ok("rm", "-r", other)
        self.ok("pg_basebackup", "-p", "5442", "-D", other, "-R", "-c", "fast", user="postgres")
        self.unit("start", "other")
        self.sql(5442, "CREATE TABLE t AS SELECT 1 AS x")
        await_that(lambda: self.sql(5443, "SELECT sum(x) FROM t") == "1", 20, "the replica")
        assert self.sql(5443, "SELECT pg_promote(true, 30)") == "t"
        self.sql(5442, "INSERT INTO t VALUES (100)")
        self.node.systemctl("kill", "--signal=KILL", f"postgresql@{self.version}-mine.service")
        self.sql(5443, "INSERT INTO t VALUES (2)")


def test_debian_cluster_is_rewound(agent_venv: Path, start_node: Callable[..., Node]) -> None:
    host = Host(start_node())
    host.create()
    host.node.write("/etc/agent.toml", CONFIG.format(version=host.version))
    host.node.write("/etc/agent.password", "correct-horse", mode=0o600)
    job = [str(agent_venv / "bin/python"), "-m", "agent.datastores.resync_job"]
    host.node.write("/etc/request", '{"force": true, "report": "/run/report.json"}')
    as_job = ["sh", "-c", f"AGENT_CONFIG=/etc/agent.toml {' '.join(job)} < /etc/request"]
    host.ok(*as_job)
    report = Report.of(json.loads(host.ok("cat", "/run/report.json")))
    assert report.result["method"] == "rewind", report
    assert "recovering from a crash" in report.phases
    await_that(lambda: host.sql(5442, "SELECT sum(x) FROM t") == "3", 10, "the rows of the new primary")
    assert host.sql(5443, "SELECT application_name FROM pg_stat_replication") == "mine"
    unit = f"postgresql@{host.version}-mine.service"
    await_that(lambda: host.node.show(unit, "ActiveState") == "active", 20, "systemd has noticed the start")
    foreign = host.ok("find", f"/var/lib/postgresql/{host.version}", "!", "-user", "postgres")
    assert foreign == ""
