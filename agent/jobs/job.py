"""One piece of long work, read from its directory.

    NAME/request   what is to be done, with its stdin; the runner takes it away as it starts
    NAME/claim     who runs it. Made by a hard link, so there is only ever one, and it decides: a
                   runner without it does nothing, and a job that has it is never started again
    NAME/command   the process that the runner started
    NAME/output    the end of what it has printed until now
    NAME/report    its progress, if its command writes it there (see `Jobs.report_of`)
    NAME/result    how it ended

What is on disk is synced before the command starts: after a power cut a job that may have run is
known to have been started.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.processes.errors import CommandError
from agent.processes.output import read_tail
from agent.processes.process import KILL_WAIT, Group, Process, boot_id
from agent.util import atomic_files

if TYPE_CHECKING:
    from agent.util.stop import Stop


class JobStillRuns(CommandError):
    """A job that runs cannot be forgotten."""


@dataclass(frozen=True)
class RunningJob:
    """pid: its runner. output: the end of what it printed until now. note: see `Jobs.start`."""

    pid: int
    output: str
    note: str


@dataclass(frozen=True)
class ExitedJob:
    """status: exit status, negative = killed by that signal, 127 = not started, None = could not be
    killed. ended: None, "timeout" or "stopped"."""

    status: int | None
    output: str
    ended: str | None
    note: str

    @property
    def ok(self) -> bool:
        return self.ended is None and self.status == 0


@dataclass(frozen=True)
class LostJob:
    """The runner is gone and left no result: the work may or may not have been done."""

    why: str
    output: str
    note: str


JobStatus = RunningJob | ExitedJob | LostJob


def lost_if_stopped(status: JobStatus) -> JobStatus:
    """The same, but lost where the job was signalled: for callers that never do so and continue the work."""
    if isinstance(status, ExitedJob) and status.ended == "stopped":
        return LostJob("the job was ended by another program or a shutdown of the host", status.output, status.note)
    return status


class Job:
    """One job, read from its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self.report = directory / "report"

    def look(self) -> JobStatus:
        """How it is now. A file of it that cannot be read makes it lost, unless its runner is known to live."""
        claim = self._load("claim")
        runner = _process(claim.get("runner"))
        alive = runner is not None and runner.alive
        result = self._load("result")  # After the look at the runner, which may just have ended.
        output, note = self._output(), str(claim.get("note", ""))
        if "status" in result and "ended" in result:
            return ExitedJob(result["status"], output, result["ended"], note)
        if runner is not None and alive:
            return RunningJob(runner.pid, output, note)
        return LostJob(self._why_lost(claim, runner), output, note)

    def await_end(self, seconds: float, stop: Stop | None = None) -> JobStatus:
        """How it is once its runner has ended, `seconds` later, or at a stop, whichever comes first."""
        if (runner := self._runner()) is not None:
            runner.await_end(seconds, stop)
        return self.look()

    def end(self, grace: float) -> JobStatus:
        """End it if it runs, and whatever is left of it: SIGTERM, after `grace` seconds SIGKILL."""
        # The second SIGTERM makes the runner kill the command.
        for number, seconds in (
            (signal.SIGTERM, grace),
            (signal.SIGTERM, KILL_WAIT),
            (signal.SIGKILL, KILL_WAIT),
        ):
            if self._ended_by(number, seconds):
                break
        if isinstance(self.look(), LostJob):
            self._end_command()
        return self.look()

    def kill_rest(self) -> None:
        """Kill at once what a lost job has left behind: it gets no time to do or undo anything."""
        if (group := self._command_group()) is not None:
            group.kill()

    def _ended_by(self, number: int, seconds: float) -> bool:
        runner = self._runner()
        if runner is None or not runner.signal(number):
            return True
        return runner.await_end(seconds)

    def _runner(self) -> Process | None:
        return _process(self._load("claim").get("runner"))

    def forget(self) -> None:
        """Remove its directory; its name may be used again. Raises JobStillRuns."""
        if self.directory.exists():
            if isinstance(self.look(), RunningJob):
                raise JobStillRuns(f"job {self.name} still runs")
            self.remove()

    @property
    def claimed(self) -> bool:
        """Whether it is decided who runs it, if anybody."""
        return (self.directory / "claim").exists()

    def withdraw(self, why: str) -> bool:
        """See to it that no runner takes it any more; False if one has already."""
        claim = json.dumps({"withdrawn": why}).encode()
        if self.claimed or not atomic_files.create(self.directory / "claim", claim):
            return False
        (self.directory / "request").unlink(missing_ok=True)  # It may hold secrets.
        return True

    def was_withdrawn(self, why: str) -> bool:
        return bool(self._load("claim").get("withdrawn") == why)

    def remove(self) -> None:
        gone = hidden(self.directory)
        os.rename(self.directory, gone)  # At once: half a directory would tell lies.
        shutil.rmtree(gone, ignore_errors=True)

    def _load(self, name: str) -> dict[str, Any]:
        """The members of one of its files; none where the file is missing, or empty or broken after a power cut."""
        try:
            said = json.loads(atomic_files.read(self.directory / name) or b"{}")
        except (ValueError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}

    def _output(self) -> str:
        return read_tail(self.directory / "output")

    def _why_lost(self, claim: dict[str, Any], runner: Process | None) -> str:
        if runner is None:
            unreadable = "its files cannot be read" if self.claimed else "it is not known here"
            return str(claim.get("withdrawn", unreadable))
        if runner.boot != boot_id():
            return "the host was restarted while it ran"
        left = self._command_group()
        more = " and left processes of it behind" if left and left.members() else ""
        if (self.directory / "result").exists():
            return f"its result cannot be read{more}"
        return f"its runner was killed{more}"

    def _command_group(self) -> Group | None:
        leader = _process(self._load("command"))
        return None if leader is None else Group(leader)

    def _end_command(self) -> None:
        group = self._command_group()
        if group is not None and group.members():
            group.end(0)


def hidden(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")


def _process(saved: Any) -> Process | None:
    """The process that was written down; None for anything else."""
    match saved:
        case {"pid": int(pid), "started": int(started), "boot": str(boot)}:
            return Process(pid, started, boot)
    return None
