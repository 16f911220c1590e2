"""Starts the runner of a job: in its own unit if systemd runs, else as a child of the agent."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path

from agent.jobs import transient_unit
from agent.jobs.job import Job
from agent.processes.command import CommandError, CommandResult, passed_on, run
from agent.processes.lost_connection import is_lost
from agent.util.dbus import has_bus
from agent.util.poll import pause_after, poll

RUNNER = Path(__file__).resolve().with_name("runner.py")
SYSTEMD_RUNS = Path("/run/systemd/system")
START_WAIT = 30.0  # maximum seconds for a runner to take its job
PATIENCE = 15.0
"""Maximum seconds without a connection to systemd, such as during `systemctl daemon-reexec` or a restart of dbus."""
EXISTS = "already"
"""Part of systemd's message if the unit exists."""


class LaunchUnconfirmed(Exception):
    """It is unknown whether the unit was started."""


def launch(job: Job) -> None:
    """Start a runner and wait until the job is taken. A runner of an earlier agent that was
    killed meanwhile may take it instead."""
    why_not = _start_unit(job) if SYSTEMD_RUNS.exists() else ""
    process = None
    try:
        if why_not is None:
            done = poll(lambda: job.claimed, START_WAIT)
        else:
            process = _start_child(job, f"runs as a child of the agent, because {why_not}" if why_not else "")
            ended = process.poll
            done = poll(lambda: job.claimed or ended() is not None, START_WAIT) and job.claimed
    except OSError as error:
        job.withdraw(f"no runner could be started: {error.strerror}")
        return
    if not done:
        job.withdraw("the runner did not start; the command has not run")
    if process is not None:  # reap it, or it would stay a zombie
        threading.Thread(target=process.wait, name=f"job {job.name}", daemon=True).start()


def _start_unit(job: Job) -> str | None:
    """Start the runner in a unit; returns the reason if systemd refuses.

    Only root uses transient units: the right to start them includes running any command as any
    user, and systemd cannot restrict it further; so any other user starts an instance of a unit that root has
    installed.
    """
    transient = [_start_over_bus, _start_by_program] if has_bus() else [_start_by_program]
    try:
        return _retried(job, transient if os.geteuid() == 0 else [_start_instance])
    except CommandError as error:
        return str(error)


def _retried(job: Job, ways: Sequence[Callable[[Job], str | None]]) -> str | None:
    """The result of the first way that gets an answer. After a lost answer, tries the next way unless the job is taken.

    That is safe: of two runners only one gets the claim.
    """
    began, lost = time.monotonic(), False
    for way in cycle(ways):
        try:
            why = way(job)
            return None if why and lost and EXISTS in why else why
        except LaunchUnconfirmed as error:
            if job.claimed:
                return None
            if (passed := time.monotonic() - began) > PATIENCE:
                return str(error)
        lost = True
        time.sleep(pause_after(passed))
    return None


def _start_over_bus(job: Job) -> str | None:
    why = transient_unit.start_over_bus(_unit(job), _runner_argv(job, ""))
    if why and EXISTS not in why:
        raise LaunchUnconfirmed(why)  # systemd-run may get an answer or a better message
    return why


def _start_by_program(job: Job) -> str | None:
    return _refusal(transient_unit.start_by_program(_unit(job), _runner_argv(job, ""), START_WAIT))


def _unit(job: Job) -> str:
    return f"agent-job-{job.name}-{zlib.crc32(os.fsencode(job.directory.parent)):08x}"


def _start_instance(job: Job) -> str | None:
    unit = f"agent-job@{job.name}.service"
    looked = run(["systemctl", "show", "--property=LoadState,User,ExecStart", "--", unit], timeout=START_WAIT)
    if not looked.ok:  # systemctl itself failed; it does not fail for a missing unit
        return _refusal(looked)
    shown = looked.stdout
    if "LoadState=not-found" in shown:
        return "agent-job@.service is not installed"
    if not _our_names() & set(re.findall("^User=(.*)$", shown, re.MULTILINE)):
        return "agent-job@.service runs as another user"
    if f" {job.directory} " not in shown:
        return f"agent-job@.service does not look for its jobs in {job.directory.parent}"
    return _refusal(run(["systemctl", "--no-ask-password", "start", "--", unit], timeout=START_WAIT))


def _our_names() -> set[str]:
    """The names of the agent's user in a unit: its number and its name."""
    names = {str(os.geteuid())}
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.geteuid()).pw_name)
    return names


def _refusal(outcome: CommandResult) -> str | None:
    if outcome.ok:
        return None
    why = outcome.stderr.strip().splitlines() or [outcome.describe()]
    # The first line of systemctl has the reason; the others refer to logs.
    refusal = f"systemd refused: {why[0]}"
    if is_lost(refusal):
        raise LaunchUnconfirmed(refusal)
    return refusal


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
    return [sys.executable, "-I", "-S", str(RUNNER), str(job.directory), json.dumps(note)]
