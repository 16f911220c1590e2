"""The base class of the servers: start, stop and kill, by a pid file and three commands."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers import process
from tests.servers.process import await_that, kill_pid, pid_in, program, run

PID_OF = Path(__file__).with_name("pid_of.sh")


class Server:
    """A real server known by its pidfile, so that fixtures and a supervisor can share it.

    `start_command`, `stop_command` and `pid_command` are argument lists: the
    first returns once the server is started in the background, the second once it has ended, the
    third prints the pid and ends with 0 while the server runs, else with 1. `start` also awaits
    that it answers.
    """

    name: str  # the name of the process in the kernel (at most 15 characters)
    dir: Path
    log: Path
    pidfile: Path
    start_timeout = 30.0  # seconds
    stop_timeout = 20.0
    stop_signal = signal.SIGTERM

    @property
    def start_command(self) -> list[str]:
        """Starts the server in the background."""
        raise NotImplementedError

    @property
    def stop_command(self) -> list[str]:
        """Ends the server with its signal, or KILL after a while; no error if it is down."""
        # not start-stop-daemon: it waits until PID 1 reaps the process, which takes seconds in some containers
        return [
            sys.executable, "-I", process.__file__, str(self.pidfile), self.name,
            str(self.stop_timeout), str(int(self.stop_signal)),
        ]  # fmt: skip

    @property
    def pid_command(self) -> list[str]:
        """Prints the pid of the running server; a zombie does not count."""
        return ["/bin/sh", str(PID_OF), str(self.pidfile), self.name]

    @property
    def pid(self) -> int | None:
        """The pid of the running server, None while it is down."""
        return pid_in(self.pidfile, self.name)

    def answers(self) -> bool:
        """Whether the server serves clients."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start the server and wait until it answers; RuntimeError with its log if it does not."""
        try:
            run(self.start_command, timeout=self.start_timeout)
            await_that(self.answers, self.start_timeout, f"an answer of {self.name}")
        except (RuntimeError, TimeoutError) as error:
            raise RuntimeError(f"{error}\n{self.log_tail()}") from error
        return self

    def stop(self) -> None:
        """End the server cleanly and await its end; nothing happens if it is down."""
        run(self.stop_command, timeout=self.stop_timeout + 10)
        await_that(lambda: self.pid is None, 5, f"the end of {self.name}")

    def kill(self) -> None:
        """Kill the server, like a crash; its pidfile stays.

        Also waits until PID 1 has reaped it: a new PostgreSQL or MySQL would treat the zombie as alive.
        """
        pid = self.pid
        kill_pid(pid)
        await_that(lambda: not Path(f"/proc/{pid}").exists(), 10, f"the last of {self.name}")

    def close(self) -> None:
        """Stop the server and remove all its files."""
        if self.pid is not None:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self, characters: int = 2000) -> str:
        """The end of the server's log."""
        try:
            return self.log.read_text(errors="replace")[-characters:]
        except FileNotFoundError:
            return ""

    def __enter__(self) -> Self:
        with self.closed_on_error():
            return self.start()

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Remove everything if the server does not start."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


def in_background(
    argv: list[str],
    *,
    pidfile: Path,
    log: Path,
    user: str | None = None,
    make_pidfile: bool = False,
    executable: Path | None = None,
) -> list[str]:
    """The command that starts a server without a daemon mode in the background.

    `executable` is the program of the process, if it is not argv[0].
    """
    return [
        program("start-stop-daemon"), "--start", "--quiet", "--background", "--oknodo",
        f"--pidfile={pidfile}", f"--output={log}",
        *(["--make-pidfile"] if make_pidfile else []),
        *([f"--chuid={user}:{user}"] if user else []),
        f"--exec={executable or argv[0]}", f"--startas={argv[0]}", "--", *argv[1:],
    ]  # fmt: skip
