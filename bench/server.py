"""Starts servers as a user does, and ends them by process id."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Bench, Unmeasured

CHECKOUT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 10.0

# High limits, so that nothing is refused or pruned while it is counted.
ROOMY = "[actions]\nqueue_limit = 100000000\nprune_keep = 100000000\n"


@dataclass(frozen=True)
class Server:
    """A running gunicorn: its master process, its port and its files."""

    process: subprocess.Popen[bytes]
    port: int
    database: Path
    log: Path

    def pids(self) -> list[int]:
        """The master and its workers."""
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text()
        return [master, *map(int, children.split())]


@contextmanager
def agent(
    bench: Bench, settings: str = ROOMY, database: Path | None = None, *, encrypted: bool = False
) -> Iterator[Server]:
    """An agent on a free port of the loopback, with a new database unless one is given."""
    directory = bench.new_directory("agent")
    config = directory / "agent.toml"
    config.write_text(settings)
    database = database or directory / "agent.db"
    arguments = ["-c", str(CHECKOUT / "gunicorn.conf.py")]
    with _gunicorn(directory, config, database, arguments, encrypted=encrypted) as server:
        yield server


@contextmanager
def bare(bench: Bench, certificate: Path, key: Path) -> Iterator[Server]:
    """A minimal Flask application on gunicorn's own threaded worker, with TLS."""
    directory = bench.new_directory("bare")
    port = _free_port()
    arguments = ["--threads", "8", "--certfile", str(certificate), "--keyfile", str(key), "bench.noop:app"]
    # An empty configuration: by default gunicorn would read the agent's, which is in the checkout.
    (empty := directory / "empty.py").touch()
    arguments = ["-c", str(empty), "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", *arguments]
    with _gunicorn(
        directory, directory / "none.toml", directory / "none.db", arguments, port, encrypted=True
    ) as server:
        yield server


@contextmanager
def noop(bench: Bench) -> Iterator[Server]:
    """A minimal Flask application on the agent's own gunicorn configuration."""
    directory = bench.new_directory("noop")
    config = directory / "agent.toml"
    config.write_text(ROOMY)
    arguments = ["-c", str(CHECKOUT / "bench" / "noop_gunicorn.py")]
    with _gunicorn(directory, config, directory / "unused.db", arguments) as server:
        yield server


@contextmanager
def _gunicorn(
    directory: Path,
    config: Path,
    database: Path,
    arguments: list[str],
    port: int | None = None,
    *,
    encrypted: bool = False,
) -> Iterator[Server]:
    port = port or _free_port()
    environment = os.environ | {
        "AGENT_CONFIG": str(config),
        "AGENT_DB": str(database),
        "AGENT_BIND": f"127.0.0.1:{port}",
        "PYTHONPATH": str(CHECKOUT),
        "MALLOC_ARENA_MAX": "2",  # as in the unit
    }
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, database, log)
    try:
        _wait_until_it_answers(server, encrypted)
        yield server
    finally:
        _stop(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(server: Server, encrypted: bool) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise Unmeasured(f"the server ended at its start:\n{_tail(server.log)}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1) as probe:
            # The socket listens before the worker is ready: wait for an answer.
            probe.settimeout(START_SECONDS)
            with ssl._create_unverified_context().wrap_socket(probe) if encrypted else probe as spoken:
                spoken.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if spoken.recv(1):
                    return
        time.sleep(0.05)
    raise Unmeasured(f"the server did not answer in {START_SECONDS:g} s:\n{_tail(server.log)}")


def _stop(server: Server) -> None:
    pids = server.pids() if server.process.poll() is None else []
    server.process.terminate()
    try:
        server.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
