"""Start the runner of a job: in a unit of its own where systemd runs, else as a child of the agent."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .command import CommandError, Outcome, passed_on, run
from .job import Job
from .poll import poll

RUNNER = Path(__file__).resolve().with_name("runner.py")
SYSTEMD_RUNS = Path("/run/systemd/system")
START_WAIT = 30.0  # seconds that a runner gets to take its job


def launch(job: Job) -> None:
    """Start a runner and wait until the job is taken. One that was started by an agent killed
    meanwhile may take it instead."""
    why_not = _start_unit(job) if SYSTEMD_RUNS.exists() else ""
    process = None
    try:
        if why_not is None:
            done = poll(lambda: job.claimed, START_WAIT)
        else:
            process = _start_child(job, f"runs as a child of the agent, as {why_not}" if why_not else "")
            ended = process.poll
            done = poll(lambda: job.claimed or ended() is not None, START_WAIT) and job.claimed
    except OSError as error:
        job.withdraw(f"no runner could be started: {error.strerror}")
        return
    if not done:
        job.withdraw("its runner did not start; it has not run")
    if process is not None:  # Somebody must wait for it, or it stays a zombie.
        threading.Thread(target=process.wait, name=f"job {job.name}", daemon=True).start()


def _start_unit(job: Job) -> str | None:
    """In a unit; why not, if it is refused.

    Only root makes one of its own. Whoever may do that may run anything as anybody, which systemd
    can allow or forbid and not narrow down; so any other user starts an instance of a unit that
    root has written.
    """
    try:
        return _start_transient(job) if os.geteuid() == 0 else _start_instance(job)
    except CommandError as error:
        return str(error)


def _start_transient(job: Job) -> str | None:
    where = zlib.crc32(os.fsencode(job.directory.parent))
    options = ["--quiet", "--collect", "--no-ask-password", "--property=KillMode=process", *_with_our_credentials()]
    unit = f"--unit=agent-job-{job.name}-{where:08x}"
    words = [word.replace("$", "$$") for word in _runner_argv(job, "")]  # systemd expands $NAME
    return _refusal(run(["systemd-run", *options, unit, "--", *words], timeout=START_WAIT))


def _with_our_credentials() -> Iterator[str]:
    """What keeps them in sight, by the same names and also while the agent is restarted, as in agent-job@.service."""
    if directory := os.environ.get("CREDENTIALS_DIRECTORY"):
        yield "--property=SetCredential=job:yes"
        yield f"--property=BindReadOnlyPaths=-{directory}"


def _start_instance(job: Job) -> str | None:
    unit = f"agent-job@{job.name}.service"
    shown = run(["systemctl", "show", "--property=LoadState,User,ExecStart", "--", unit], timeout=START_WAIT).stdout
    if "LoadState=not-found" in shown:
        return "agent-job@.service is not installed"
    if not _our_names() & set(re.findall("^User=(.*)$", shown, re.MULTILINE)):
        return "agent-job@.service is another user's"
    if f" {job.directory} " not in shown:
        return f"agent-job@.service does not look for its jobs in {job.directory.parent}"
    return _refusal(run(["systemctl", "--no-ask-password", "start", "--", unit], timeout=START_WAIT))


def _our_names() -> set[str]:
    """What a unit may call our user."""
    names = {str(os.geteuid())}
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    return names


def _refusal(outcome: Outcome) -> str | None:
    if outcome.ok:
        return None
    why = outcome.stderr.strip().splitlines() or [outcome.describe()]
    # Of systemctl the first line says why, and the others where to read more.
    return f"systemd refused: {why[0]}"


def _start_child(job: Job, note: str) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    return subprocess.Popen(
        _runner_argv(job, note),
        stdin=null,
        stdout=null,
        stderr=null,
        cwd="/",
        env=passed_on(),
        start_new_session=True,
    )


def _runner_argv(job: Job, note: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(RUNNER), str(job.directory), note]
