"""Long work that outlives the agent: each job is run by a small process of its own (runner.py)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import files
from .command import CommandError, environment, run
from .job import Exited, Job, JobStillRuns, Lost, Running, Status, hidden, wait

__all__ = ["BadJobName", "Exited", "Job", "JobStillRuns", "Jobs", "Lost", "Running", "Status"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)
RUNNER = Path(__file__).resolve().with_name("runner.py")
SYSTEMD_RUNS = Path("/run/systemd/system")
START_WAIT = 30.0  # seconds that a runner gets to take its job
NOT_STARTED = "the agent was killed while it started the job"


class BadJobName(ValueError):
    """A job's name may have letters, digits and ._- only, at most 100, and not begin with . or -"""

    def __init__(self, name: str) -> None:
        super().__init__(f"not a job's name: {name[:100]!r}")


class Jobs:
    """The jobs kept in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.sync(self._directory.parent)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Start a job, unless it was started before: a name runs once, until it is forgotten.

        timeout: seconds, or None. env: its whole environment; ours if None.
        Where systemd runs the job is a unit of its own; if systemd refuses, it is a plain child,
        which may end with the agent's unit, and the `note` of its status says so.
        If no runner can be started the job is `Lost` at once and has not run.
        Raises BadJobName, OSError (the directory cannot be written).
        """
        job = Job(self._directory / _checked(name))
        with self._alone():
            if not _has_run(job):
                self._prepare(job, argv, stdin, env, cwd, timeout)
                _launch(job)
        return job

    def find(self, name: str) -> Job | None:
        """The job of that name; None if it has not run, and then it will not unless started."""
        job = Job(self._directory / _checked(name))
        with self._alone():
            return job if _has_run(job) else None

    def forget_ended(self) -> None:
        """Remove what is left of all jobs that run no more."""
        with self._alone():
            for directory in self._directory.glob("[!.]*"):
                with suppress(JobStillRuns):
                    Job(directory).forget()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one process at a time; a kill gives the lock back."""
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
    ) -> None:
        """Make the job's directory: under a hidden name first, so never seen half made."""
        request = {
            "argv": list(argv),
            "stdin": base64.b64encode(stdin).decode(),
            "env": environment(env),
            "cwd": os.path.abspath(cwd or "."),
            "timeout": timeout,
        }
        self._sweep()
        draft = hidden(job.directory)
        draft.mkdir(mode=0o700)
        files.replace(draft / "request", json.dumps(request).encode())
        os.rename(draft, job.directory)
        files.sync(self._directory)

    def _sweep(self) -> None:
        """What was half made or half removed when an agent was killed."""
        for left in self._directory.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)


def _has_run(job: Job) -> bool:
    """Whether it was taken by a runner, or given up by `_launch`. If not, it is taken away from any
    runner that an agent killed meanwhile may have started, and removed."""
    if not job.directory.exists():
        return False
    if not job.withdraw(NOT_STARTED) and not job.was_withdrawn(NOT_STARTED):
        return True
    job.remove()
    return False


def _launch(job: Job) -> None:
    """Start a runner and wait until the job is taken. One that was started by an agent killed
    meanwhile may take it instead."""
    note = _launch_unit(job) if SYSTEMD_RUNS.exists() else ""
    process = None
    try:
        if note is None:
            done = wait(lambda: job.claimed, START_WAIT)
        else:
            process = _launch_child(job, note)
            ended = process.poll
            done = wait(lambda: job.claimed or ended() is not None, START_WAIT) and job.claimed
    except OSError as error:
        job.withdraw(f"no runner could be started: {error.strerror}")
        return
    if not done:
        job.withdraw("its runner did not start; it has not run")
    if process is not None:  # Somebody must wait for it, or it stays a zombie.
        threading.Thread(target=process.wait, name=f"job {job.name}", daemon=True).start()


def _runner_argv(job: Job, note: str) -> list[str]:
    return [sys.executable, "-I", str(RUNNER), str(job.directory), note]


def _launch_unit(job: Job) -> str | None:
    """As a transient unit; why not, if it is refused."""
    where = zlib.crc32(os.fsencode(job.directory.parent))
    user = [f"--uid={os.geteuid()}", f"--gid={os.getegid()}"] if os.geteuid() else []
    options = ["--quiet", "--collect", "--no-ask-password", "--property=KillMode=process", *user]
    unit = f"--unit=agent-job-{job.name}-{where:08x}"
    words = [word.replace("$", "$$") for word in _runner_argv(job, "")]  # systemd expands $NAME
    argv = ["systemd-run", *options, unit, "--", *words]
    try:
        outcome = run(argv, timeout=START_WAIT)
    except CommandError as error:
        return f"runs as a child of the agent: {error}"
    if outcome.ok:
        return None
    why = outcome.stderr.strip().splitlines()[-1:] or [outcome.describe()]
    return f"runs as a child of the agent, systemd refused: {why[0]}"


def _launch_child(job: Job, note: str) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    return subprocess.Popen(
        _runner_argv(job, note),
        stdin=null,
        stdout=null,
        stderr=null,
        cwd="/",
        env=environment(None),
        start_new_session=True,
    )


def _checked(name: str) -> str:
    if NAME.fullmatch(name) is None:
        raise BadJobName(name)
    return name
