"""The supervisor of a host without systemd: runs three configured commands."""

import os
import shlex
from collections.abc import Sequence

from agent import clock
from agent.processes.process import stat_of
from agent.supervisors.base import Status, Supervisor, SupervisorFailed, failure_text, run, run_ok
from agent.util.stop import Stop


class Commands(Supervisor):
    """`pid` prints the main pid and exits with 0 while the service runs; `start` and `stop` do what they say.

    Each may take `timeout` seconds.
    """

    def __init__(self, pid: Sequence[str], start: Sequence[str], stop: Sequence[str], timeout: float) -> None:
        self._pid, self._start, self._stop = pid, start, stop
        self._timeout = timeout
        self._seen: tuple[str, float] = ("", 0.0)
        self.subject = shlex.join(start)

    def status(self, stop: Stop, action: str | None = None) -> Status:
        outcome = run(self._pid, self._timeout, stop, action)
        words = outcome.stdout.split()
        if not outcome.ok or not words:
            return Status(running=False, stopped=True, pid=None, message=failure_text(outcome))
        if not (words[0].isascii() and words[0].isdigit()):
            raise SupervisorFailed(f"{shlex.join(self._pid)} printed {words[0][:100]!r} instead of a pid")
        pid = words[0]
        return Status(running=True, stopped=False, pid=pid, message=f"pid {pid}", age=self._age(pid))

    def start(self, stop: Stop, action: str | None = None) -> None:
        run_ok(self._start, self._timeout, stop, action)

    def stop(self, stop: Stop, action: str | None = None) -> None:
        run_ok(self._stop, self._timeout, stop, action)

    def _age(self, pid: str) -> float:
        """Seconds since the process started, or since the first sight of a pid without readable /proc entry."""
        if (stat := stat_of(int(pid))) is not None:
            return clock.monotonic() - stat.started / os.sysconf("SC_CLK_TCK")
        if self._seen[0] != pid:
            self._seen = (pid, clock.monotonic())
        return clock.monotonic() - self._seen[1]
