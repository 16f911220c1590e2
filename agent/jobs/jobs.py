"""Starts and finds jobs: long work that outlives the agent, each run by its own small process (runner.py)."""

from __future__ import annotations

import fcntl
import glob
import marshal
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.jobs.job import ExitedJob, Job, JobStatus, JobStillRuns, LostJob, RunningJob, hidden, lost_if_stopped
from agent.jobs.launch import launch
from agent.processes.command import environment
from agent.processes.recording import Recorded, current
from agent.util import atomic_files

__all__ = [
    "BadJobName",
    "ExitedJob",
    "Job",
    "JobStatus",
    "JobStillRuns",
    "Jobs",
    "LostJob",
    "RunningJob",
    "lost_if_stopped",
]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)
REQUEST_FORMAT = 4
"""The version of `marshal`, a module that is imported fast; every Python since 3.4 reads this version."""
NOT_STARTED = "the agent was killed while it started the job"


_made: set[Path] = set()
"""Directories that are synced already, so that frequent looks at a job need no fsync."""


class BadJobName(ValueError):
    """The name is invalid. Valid: at most 100 of letters, digits and ._- that do not begin with . or -"""

    def __init__(self, name: str) -> None:
        super().__init__(f"not a job's name: {name[:100]!r}")


class Jobs:
    """The jobs in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        if self._directory not in _made or not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_files.sync(self._directory.parent)
            _made.add(self._directory)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        umask: int = -1,
        recorded: Recorded | None = None,
    ) -> Job:
        """Start a job unless it was started before: a name runs once, until it is forgotten.

        timeout: seconds, or None. env: its whole environment; `passed_on` if None. umask: its runner's if negative.
        recorded: the part of its output that belongs to the output of the running step's action.
        With systemd the job runs in its own unit: a transient one for root, agent-job@NAME for any
        other user. Otherwise it is a plain child, which may end with the agent's unit, and the `note`
        of its status has the reason.
        If no runner can be started, the job is `LostJob` at once and has not run.
        Raises BadJobName, OSError (the directory cannot be written).
        """
        job = Job(self._directory / _checked(name))
        with self._locked():
            if not _has_run(job):
                self._prepare(job, argv, stdin, env, cwd, timeout, umask, recorded)
                launch(job)
        return job

    def find(self, name: str) -> Job | None:
        """The job of this name; None if it has not run. Then it cannot run any more unless started again."""
        job = Job(self._directory / _checked(name))
        with self._locked():
            return job if _has_run(job) else None

    def report_of(self, name: str) -> Path:
        """The file in which the job of this name may report its progress."""
        return Job(self._directory / _checked(name)).report

    def end_of(self, action: str, grace: float) -> list[str]:
        """End the running jobs of an action, whose names contain its id; returns their names."""
        found = (self.find(directory.name) for directory in self._directory.glob(f"[!.]*{glob.escape(action)}*"))
        running = [job for job in found if job is not None and not isinstance(job.look(), ExitedJob)]
        for job in running:
            job.end(grace)
        return [job.name for job in running]

    def running(self) -> dict[str, int]:
        """The running jobs of all actions: the pid of the runner by the name of the job."""
        found = {directory.name: self.find(directory.name) for directory in self._directory.glob("[!.]*")}
        looks = {name: job.look() for name, job in found.items() if job is not None}
        return {name: status.pid for name, status in looks.items() if isinstance(status, RunningJob)}

    def forget_ended(self) -> None:
        """Remove the directories of all ended jobs. One that cannot be removed does not disturb later jobs."""
        with self._locked():
            for directory in self._directory.glob("[!.]*"):
                with suppress(JobStillRuns, OSError):
                    Job(directory).forget()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the directory against other threads and processes; a kill releases the lock."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _prepare(
        self,
        job: Job,
        argv: Sequence[str],
        stdin: bytes,
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        timeout: float | None,
        umask: int,
        recorded: Recorded | None,
    ) -> None:
        """Make the job's directory under a hidden name and rename it, so that it is never seen incomplete."""
        request = {
            "argv": list(argv),
            "stdin": stdin,
            "env": environment(env),
            "cwd": os.path.abspath(cwd or "."),
            "timeout": timeout,
            "umask": umask,
            "transcript": _saved(recorded),
        }
        self._sweep()
        draft = hidden(job.directory)
        draft.mkdir(mode=0o700)
        # Not synced: after a power cut a job without a claim has not run, and is removed.
        atomic_files.replace(draft / "request", marshal.dumps(request, REQUEST_FORMAT), durable=False)
        os.rename(draft, job.directory)
        atomic_files.sync(self._directory)

    def _sweep(self) -> None:
        """Remove hidden directories, left by an agent that was killed while it made or removed a job."""
        for left in self._directory.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)


def _has_run(job: Job) -> bool:
    """Whether a runner has taken the job, or `launch` has withdrawn it. If not, it is withdrawn and removed,
    so that a runner started by a killed agent cannot take it."""
    if not job.directory.exists():
        return False
    if not job.withdraw(NOT_STARTED) and not job.was_withdrawn(NOT_STARTED):
        return True
    job.remove()
    return False


def _saved(recorded: Recorded | None) -> dict[str, Any] | None:
    """The transcript in which the runner records the command's output."""
    transcript = current()
    if transcript is None or recorded is None:
        return None
    if recorded.title:
        transcript.say(recorded.title)
    return transcript.saved()


def _checked(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise BadJobName(name)
    return name
