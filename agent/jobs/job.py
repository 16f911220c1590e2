"""One piece of long work, read from its directory.

    NAME/request   the command with its stdin; the runner removes it at its start
    NAME/claim     the runner's process. Created by a hard link, so only one runner succeeds: a
                   runner without it does nothing, and a job that has it is never started again
    NAME/command   the process that the runner started
    NAME/output    the end of the output so far
    NAME/report    the progress, if the command writes it there (see `Jobs.report_of`)
    NAME/result    the exit status

The claim is synced before the command starts: after a power cut, every job that may have run has
a claim.
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
    """The job is still running and cannot be forgotten."""


@dataclass(frozen=True)
class RunningJob:
    """pid: its runner. output: the end of its output so far. note: see `Jobs.start`."""

    pid: int
    output: str
    note: str


@dataclass(frozen=True)
class ExitedJob:
    """status: exit status, negative = killed by that signal, 127 = not started, None = still runs after
    SIGKILL. ended: None, "timeout" or "stopped"."""

    status: int | None
    output: str
    ended: str | None
    note: str

    @property
    def ok(self) -> bool:
        return self.ended is None and self.status == 0


@dataclass(frozen=True)
class LostJob:
    """The runner has ended without a result: the work may or may not be done."""

    why: str
    output: str
    note: str


JobStatus = RunningJob | ExitedJob | LostJob


def lost_if_stopped(status: JobStatus) -> JobStatus:
    """The status, but `LostJob` after a stop by a signal; for callers that never stop jobs and continue their work."""
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
        """The current status. A job with an unreadable file is lost unless its runner is known to run."""
        claim = self._load("claim")
        runner = _process(claim.get("runner"))
        alive = runner is not None and runner.alive
        result = self._load("result")  # read after the check of the runner, which may just have ended
        output, note = self._output(), str(claim.get("note", ""))
        if "status" in result and "ended" in result:
            return ExitedJob(result["status"], output, result["ended"], note)
        if runner is not None and alive:
            return RunningJob(runner.pid, output, note)
        return LostJob(self._why_lost(claim, runner), output, note)

    def await_end(self, seconds: float, stop: Stop | None = None) -> JobStatus:
        """Wait for the end of its runner, for at most `seconds` or until a stop; returns the status then."""
        if (runner := self._runner()) is not None:
            runner.await_end(seconds, stop)
        return self.look()

    def end(self, grace: float) -> JobStatus:
        """End the job and its remaining processes: SIGTERM, after `grace` seconds SIGKILL; returns the status."""
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
        """Kill the remaining processes of a lost job at once, without time to do or undo anything."""
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
        """Remove its directory, so that its name can be used again. Raises JobStillRuns."""
        if self.directory.exists():
            if isinstance(self.look(), RunningJob):
                raise JobStillRuns(f"job {self.name} still runs")
            self.remove()

    @property
    def claimed(self) -> bool:
        """Whether it has a claim: a runner has taken it, or it was withdrawn."""
        return (self.directory / "claim").exists()

    def withdraw(self, why: str) -> bool:
        """Prevent any runner from taking it; False if one already has."""
        claim = json.dumps({"withdrawn": why}).encode()
        if self.claimed or not atomic_files.create(self.directory / "claim", claim):
            return False
        (self.directory / "request").unlink(missing_ok=True)  # it may contain secrets
        return True

    def was_withdrawn(self, why: str) -> bool:
        return bool(self._load("claim").get("withdrawn") == why)

    def remove(self) -> None:
        gone = hidden(self.directory)
        os.rename(self.directory, gone)  # atomically: a partly removed directory would be misread
        shutil.rmtree(gone, ignore_errors=True)

    def _load(self, name: str) -> dict[str, Any]:
        """The members of one of its files; empty if it is missing, or empty or invalid after a power cut."""
        try:
            found = json.loads(atomic_files.read(self.directory / name) or b"{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

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
    """The process saved in a file; None for anything else."""
    match saved:
        case {"pid": int(pid), "started": int(started), "boot": str(boot)}:
            return Process(pid, started, boot)
    return None
