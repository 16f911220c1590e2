"""(e) Memory and processor time of an idle agent with TLS and tokens, summed over its processes."""

from __future__ import annotations

import os
import ssl
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from bench import rows
from bench.certificate import make_certificate
from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target
from bench.server import Server, agent

ACTIONS = 100
SETTLE_SECONDS = 5
IDLE_SECONDS = 20
TOKEN = "a-token-of-the-bench-and-of-nothing-else"
SETTINGS = """
[agent]
test_kinds = true
[api]
tokens = "{tokens}"
[api.tls]
certificate = "{certificate}"
key = "{key}"
"""


def measure(bench: Bench) -> list[Row]:
    """An agent configured as in production, some seconds after 100 actions."""
    bench.say(f"e: {IDLE_SECONDS} idle seconds")
    directory = bench.new_directory("tls")
    certificate, key = make_certificate(directory)
    settings = SETTINGS.format(certificate=certificate, key=key, tokens=_tokens(directory))
    with agent(bench, settings, encrypted=True) as server:
        _execute_actions(server, ssl.create_default_context(cafile=certificate))
        time.sleep(SETTLE_SECONDS)
        before, start = processor_seconds(server), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used = processor_seconds(server) - before
        percent = 100 * used / (time.monotonic() - start)
        memory = memory_mebibytes(server)
    return [
        Row("e", "memory of an idle agent (PSS)", memory, "MiB",
            target=Target("value", "<=", 60, "MiB")),
        Row("e", "processor of an idle agent", percent, "% of a core",
            target=Target("value", "<=", 0.3, "%")),
    ]  # fmt: skip


def memory_mebibytes(server: Server) -> float:
    """The proportional set size of the master and its workers."""
    return sum(_pss_kibibytes(pid) for pid in server.pids()) / 1024


def processor_seconds(server: Server) -> float:
    """The user and system time of the master and its workers since their start."""
    return sum(_ticks(pid) for pid in server.pids()) / os.sysconf("SC_CLK_TCK")


def _tokens(directory: Path) -> Path:
    """A file with one identity, which has `TOKEN`."""
    file = directory / "tokens.toml"
    file.touch(mode=0o600)
    file.write_text(f'["bench@example.com"]\nsha256 = "{sha256(TOKEN.encode()).hexdigest()}"\nkinds = ["*"]\n')
    return file


def _execute_actions(server: Server, context: ssl.SSLContext) -> None:
    with closing(Client(server.port, context, TOKEN)) as client:
        for _ in range(ACTIONS):
            client.schedule(SUCCESS, {})
    with rows.opened(server.database) as connection:
        wait_for(lambda: rows.unfinished(connection) == 0, 30, "the actions to finish")


def _pss_kibibytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _ticks(pid: int) -> int:
    # The command's name in parentheses may contain spaces: count the fields after it.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
