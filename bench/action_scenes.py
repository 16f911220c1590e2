"""The scenes of figure g: agent configurations, actions, and the equivalent commands by hand, in a booted node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.servers.node import Node

REDIS = "redis-server.service"
UNIT_MS, JOB_MS = 60.0, 150.0
"""Milliseconds that an action may take longer than the commands by hand: with a supervisor, and with jobs."""
FAILURE_MS = 300.0

LONE = "port 6390\ndaemonize yes\npidfile /run/lone.pid\nsave ''\nrepl-diskless-sync-delay 0\n"
COPY = "port 6391\ndaemonize yes\npidfile /run/copy.pid\nsave ''\nreplicaof 127.0.0.1 6390\n"
RESTART_LONE = """#!/bin/sh
pid=$(cat /run/lone.pid) && kill $pid
while kill -0 $pid; do sleep 0.002; done
exec redis-server /etc/lone.conf
"""
STOP_LONE = """#!/bin/sh
pid=$(cat /run/lone.pid) && redis-cli -p 6390 shutdown nosave
while kill -0 $pid; do sleep 0.002; done
"""
REPOSITORY = """
set -e; git init --quiet --initial-branch=main /srv/shop.git; cd /srv/shop.git; echo one >page; git add page
git -c user.name=a -c user.email=a@example.com commit --quiet --message=one
git init --quiet --bare /srv/mirror; mkdir -p /srv/shop /srv/by-hand
"""
DEPLOY = """#!/bin/sh
set -e; cd /srv/mirror; new=/srv/by-hand/$$; mkdir $new
git fetch --quiet --prune /srv/shop.git '+refs/heads/*:refs/heads/*'; rm -f index
git --work-tree=$new read-tree --reset -u $(git rev-parse main)
sync -f $new; ln -s $new $new.link; mv -T $new.link /srv/by-hand/current
systemctl restart app
"""
PAIR = """
set -e; here=/var/lib/postgresql/$1/here
for cluster in here:5446 there:5447; do
    pg_createcluster -p ${cluster#*:} $1 ${cluster%:*} -- --auth=trust --data-checksums
    echo 'wal_keep_size = 256MB' >>/etc/postgresql/$1/${cluster%:*}/postgresql.conf
done
systemctl start postgresql@$1-there
rm -r $here
runuser -u postgres -- pg_basebackup -h 127.0.0.1 -p 5447 -D $here -c fast -R
systemctl start postgresql@$1-here
"""
"""Two clusters; the first is a standby of the second."""
DIVERGE = """#!/bin/sh
sql() { runuser -u postgres -- psql -qAt -p $1 -c "$2"; }
sql 5446 'SELECT pg_promote()'; sql 5446 'CREATE TABLE t5446 ()'; sql 5447 'CREATE TABLE IF NOT EXISTS t5447 ()'
sql 5446 CHECKPOINT; sql 5447 CHECKPOINT
"""
REWIND = """#!/bin/sh
set -e; here=/var/lib/postgresql/$1/here
systemctl stop postgresql@$1-here
there="host=127.0.0.1 port=5447 user=postgres dbname=postgres"
runuser -u postgres -- /usr/lib/postgresql/$1/bin/pg_rewind -D $here --source-server="$there" -R
systemctl start postgresql@$1-here
until runuser -u postgres -- psql -qAt -p 5446 -c 'SELECT status FROM pg_stat_wal_receiver' | grep -q streaming
do sleep 0.002; done
"""
LINK_UP = "until redis-cli -p 6391 info replication | grep -q master_link_status:up; do sleep 0.002; done"


@dataclass(frozen=True)
class Timed:
    """An action, the equivalent commands by hand, and the commands before each of both, which are not measured."""

    name: str
    kind: str
    args: dict[str, Any]
    by_hand: list[list[str]]
    before: list[list[str]] = field(default_factory=list)
    wanted: str = "DONE"
    extra_ms: float = UNIT_MS
    server: tuple[str, int] | None = None
    """The kind and port of the server whose outage is measured too."""


@dataclass(frozen=True)
class Scene:
    """A configuration and the actions that are measured with it."""

    document: dict[str, Any]
    timed: list[Timed]


def prepare(node: Node, postgresql: str) -> None:
    """Write the files of the scenes, and start their servers and units."""
    node.write("/etc/systemd/system/failing.service", '[Service]\nType=exec\nExecStart=/bin/sh -c "exit 3"\n')
    node.write("/etc/systemd/system/app.service", "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n")
    node.write("/etc/lone.conf", LONE)
    node.write("/etc/copy.conf", COPY)
    for name, text in (
        ("restart-lone", RESTART_LONE), ("stop-lone", STOP_LONE), ("deploy", DEPLOY), ("diverge", DIVERGE),
        ("rewind", REWIND),
    ):  # fmt: skip
        node.write(f"/usr/local/bin/{name}", text, 0o755)
    for argv in (
        ("systemctl", "daemon-reload"), ("sh", "-c", REPOSITORY), ("systemctl", "start", "app"),
        ("redis-server", "/etc/lone.conf"), ("redis-server", "/etc/copy.conf"),
        ("sh", "-c", PAIR, "sh", postgresql),
    ):  # fmt: skip
        done = node.run(*argv, timeout=300)
        assert done.returncode == 0, (argv, done.stderr)


def scenes(postgresql: str) -> Iterator[Scene]:
    """All scenes. `postgresql`: the version of the cluster `bench` on port 5444, which trusts every local user."""
    ping = ["redis-cli", "ping"]
    restart = [["systemctl", "restart", REDIS], ping]
    named = {"redis": {"unit": REDIS}}
    yield Scene(
        {"services": named, "processes": named, "service": {"unit": REDIS}, "datastore": _redis(6379)},
        [
            Timed("replicante.service.restart of Redis", "replicante.service.restart", {}, restart),
            Timed("service_restart of a unit", "service_restart", {"service_name": "redis"}, restart),
            Timed("process_restart of a unit", "process_restart", {"process_name": "redis"}, restart),
        ],
    )
    failing = [["systemctl", "start", "failing"]]
    yield Scene(
        {"service": {"unit": "failing.service"}, "datastore": _redis(6379)},
        [
            Timed(
                "service.start of a unit that fails at once", "replicante.service.start", {}, failing,
                wanted="FAILED", extra_ms=FAILURE_MS,
            )
        ],
    )  # fmt: skip
    unit = f"postgresql@{postgresql}-bench.service"
    ready = ["sh", "-c", "until pg_isready -q -h 127.0.0.1 -p 5444; do sleep 0.002; done"]
    yield Scene(
        {
            "service": {"unit": unit},
            "datastore": {"kind": "postgresql", "url": "postgresql://postgres@127.0.0.1:5444/postgres"},
        },
        [
            Timed(
                "replicante.service.restart of PostgreSQL", "replicante.service.restart", {},
                [["systemctl", "restart", unit], ready],
            )
        ],
    )  # fmt: skip
    start = ["redis-server", "/etc/lone.conf"]
    answers = ["sh", "-c", "until redis-cli -p 6390 ping; do sleep 0.002; done"]
    yield Scene(
        {
            "service": {
                "supervisor": "commands",
                "pid": ["cat", "/run/lone.pid"],
                "start": start,
                "stop": ["stop-lone"],
            },
            "datastore": _redis(6390),
            "processes": {"lone": {"pid_file": "/run/lone.pid", "restart": ["restart-lone"]}},
            "applications": {"shop": {"repository": "/srv/shop.git", "path": "/srv/shop", "services": ["app.service"]}},
        },
        [
            Timed(
                "replicante.service.gracefulrestart of Redis by commands", "replicante.service.gracefulrestart", {},
                [["stop-lone"], start, answers],
            ),
            Timed(
                "process_restart of a pid file", "process_restart", {"process_name": "lone"},
                [["restart-lone"], answers],
            ),
            Timed("deploy of a tiny repository to one unit", "deploy", {}, [["deploy"]], extra_ms=JOB_MS),
        ],
    )  # fmt: skip
    parted = [["redis-cli", "-p", "6391", "replicaof", "no", "one"], ["redis-cli", "-p", "6391", "incr", "mine"]]
    yield Scene(
        {"datastore": _redis(6391) | {"primary": "redis://127.0.0.1:6390"}},
        [
            Timed(
                "resync_slave_db of a small Redis", "resync_slave_db", {"force": True},
                [["redis-cli", "-p", "6391", "replicaof", "127.0.0.1", "6390"], ["sh", "-c", LINK_UP]],
                before=parted, extra_ms=JOB_MS,
            )
        ],
    )  # fmt: skip
    here, there = ("postgresql://postgres@127.0.0.1:" + port for port in ("5446/postgres", "5447/postgres"))
    pair = {"url": here, "primary": there, "data_directory": f"/var/lib/postgresql/{postgresql}/here"}
    yield Scene(
        {"service": {"unit": f"postgresql@{postgresql}-here.service"}, "datastore": {"kind": "postgresql"} | pair},
        [
            Timed(
                "resync_slave_db of a PostgreSQL that has diverged", "resync_slave_db", {"force": True},
                [["rewind", postgresql]], before=[["diverge"]], extra_ms=JOB_MS, server=("postgresql", 5446),
            )
        ],
    )  # fmt: skip


def _redis(port: int) -> dict[str, Any]:
    return {"kind": "redis", "url": f"redis://127.0.0.1:{port}"}
