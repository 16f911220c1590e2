"""(e) Memory and processor time of an idle agent, all its processes together."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

from bench import rows
from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target
from bench.server import Server, agent

ACTIONS = 100
SETTLE_SECONDS = 5
IDLE_SECONDS = 20


def measure(bench: Bench) -> list[Row]:
    """An agent with the default settings, some seconds after 100 actions."""
    bench.say(f"e: {IDLE_SECONDS} idle seconds")
    with agent(bench, settings="") as server:
        _execute_actions(server)
        time.sleep(SETTLE_SECONDS)
        before, start = processor_seconds(server), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used = processor_seconds(server) - before
        percent = 100 * used / (time.monotonic() - start)
        memory = memory_mebibytes(server)
    return [
        Row("e", "memory of an idle agent (PSS)", memory, "MiB",
            target=Target("value", "<=", 52, "MiB")),
        Row("e", "processor of an idle agent", percent, "% of a core",
            target=Target("value", "<=", 0.3, "%")),
    ]  # fmt: skip


def memory_mebibytes(server: Server) -> float:
    """The proportional set size of the master and its workers."""
    return sum(_pss_kibibytes(pid) for pid in server.pids()) / 1024


def processor_seconds(server: Server) -> float:
    """User and system time of the master and its workers since they started."""
    return sum(_ticks(pid) for pid in server.pids()) / os.sysconf("SC_CLK_TCK")


def _execute_actions(server: Server) -> None:
    with closing(Client(server.port)) as client:
        for _ in range(ACTIONS):
            client.schedule(SUCCESS, {})
    with rows.opened(server.database) as connection:
        wait_for(lambda: rows.unfinished(connection) == 0, 30, "the actions to finish")


def _pss_kibibytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _ticks(pid: int) -> int:
    # The command's name, in parentheses, may hold spaces: count the fields after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
