"""The rebuild of a MySQL replica by the clone plugin, for figure g; on this host, because a node has no MySQL."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.action_scenes import JOB_MS, Timed

if TYPE_CHECKING:
    from tests.servers.mysql import MySQLServer

SQL = """#!/bin/sh
sql() {{ {client} --no-defaults --user=root --socket={socket} --batch --vertical --execute="$1"; }}
"""
DIVERGE = """
sql 'set global super_read_only = 0; set global read_only = 0; create database if not exists errant'
sql "create table errant.t$$ (x int)"
"""
CLONE = """
sql "stop replica; set global super_read_only = 0; set global clone_valid_donor_list = '127.0.0.1:{port}';
    clone instance from replicator@'127.0.0.1':{port} identified by '{password}'"
while {running}; do sleep 0.002; done >/dev/null
{start}
until sql 'select 1'; do sleep 0.002; done
sql "change replication source to source_host = '127.0.0.1', source_port = {port}, source_user = 'replicator',
    source_password = '{password}', source_auto_position = 1, get_source_public_key = 1;
    start replica; set global super_read_only = 1"
until sql 'show replica status' | grep -q 'Replica_IO_Running: Yes'; do sleep 0.002; done
"""
"""A server without a supervisor ends after the clone and must be started by the script."""


@contextmanager
def clone_scene(directory: Path) -> Iterator[tuple[str, list[Timed]]]:
    """The configuration of an agent, and the action to measure with it."""
    from tests.datastores.mysql_family import configuration, primary_options, with_syncer
    from tests.servers.mysql import MySQLServer

    with MySQLServer(directory / "there") as source:
        source.start()
        with_syncer(source)
        with source.replica(directory / "here") as replica:
            scripts = [["sh", str(directory / name)] for name in ("diverge", "clone")]
            (directory / "diverge").write_text(_sql(replica) + DIVERGE)
            (directory / "clone").write_text(_sql(replica) + _clone(replica, source))
            name = "resync_slave_db of a MySQL by a clone"
            diverge, clone = scripts
            timed = Timed(
                name, "resync_slave_db", {"force": True}, [clone],
                before=[diverge], extra_ms=JOB_MS, server=("mysql", replica.port),
            )  # fmt: skip
            yield configuration(replica, **primary_options(source, directory)), [timed]


def _sql(server: MySQLServer) -> str:
    return SQL.format(client=server.client, socket=server.socket)


def _clone(replica: MySQLServer, source: MySQLServer) -> str:
    commands = {"running": shlex.join(replica.pid_command), "start": shlex.join(replica.start_command)}
    return CLONE.format(port=source.port, password=source.replication_password, **commands)
