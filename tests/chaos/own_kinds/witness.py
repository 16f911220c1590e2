"""Kinds that record outside of the database which step of which action ran when, and whether it ran alone."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marshmallow import fields

from agent.jobs import jobs
from agent.jobs.jobs import Jobs
from agent.kinds.base import Args, Done, Failed, Kind, Running, Step, StepResult
from agent.kinds.base.arguments import Number
from agent.processes import command

HERE = Path(os.environ["WITNESS"])


class MarkArgs(Args):
    steps = fields.Integer(strict=True, load_default=1)
    pause = Number(load_default=0.0)
    after = Number(load_default=0.0)


class Mark(Kind):
    """Appends a line at the begin of each step and another at its end."""

    name = "witness.mark"
    args = MarkArgs

    def step(self, step: Step) -> StepResult:
        number = (step.payload or 0) + 1
        with alone(step.action.id):
            note("begin", step.action.id, number)
            time.sleep(step.args["pause"])
            note("end", step.action.id, number)
        if number < step.args["steps"]:
            return Running(number, after=step.args["after"])
        return Done(number)

    def resume(self, step: Step) -> StepResult:
        note("interrupted", step.action.id)
        return self.step(step)


class Command(Kind):
    """Wait for a command that never ends by itself."""

    name = "witness.command"

    def step(self, step: Step) -> StepResult:
        note("begin", step.action.id, 1)
        outcome = command.run(["sleep", "600"], timeout=600, stop=step.stop, action=step.action.id)
        note("end", step.action.id, 1)
        return Failed(outcome.describe(), outcome.describe())


class Job(Kind):
    """Start a job that waits for a file, and poll it until it has ended."""

    name = "witness.job"

    def step(self, step: Step) -> StepResult:
        script = (
            'echo $$ >"$1.pid"; echo started >>"$1.started"; while [ ! -e "$1.go" ]; do sleep 0.05; done; echo done'
        )
        job = Jobs(HERE / "jobs").start(step.action.id, ["sh", "-c", script, "sh", str(HERE / "job")])
        status = job.look()
        if isinstance(status, jobs.RunningJob):
            return Running({"runner": status.pid}, after=0.1)
        job.forget()
        outcome = {"said": status.output}
        return Done(outcome) if isinstance(status, jobs.ExitedJob) and status.ok else Failed(outcome)

    # A job of a name runs once: a second start finds the running job.
    resume = step


def note(what: str, action_id: str, number: int = 0) -> None:
    """Append one line atomically, with concurrent writers."""
    fd = os.open(HERE / "trace", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{what} {action_id} {number}\n".encode())
    finally:
        os.close(fd)


@contextmanager
def alone(action_id: str) -> Iterator[None]:
    """Hold a lock that the kernel releases with the process, and record if it was taken."""
    fd = os.open(HERE / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("overlap", action_id)
        yield
    finally:
        os.close(fd)
