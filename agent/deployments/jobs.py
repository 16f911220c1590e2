"""The long commands of a deployment: each is a job, which runs once whatever becomes of the agent meanwhile."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.deployments.errors import DeploymentFailed
from agent.jobs.jobs import ExitedJob, Jobs, LostJob, lost_if_stopped
from agent.processes.command import CommandResult
from agent.processes.recording import Recorded
from agent.supervisors.base import failure_text
from agent.util.stop import Stop

UMASK = 0o022
"""What an application's units run as is hardly us, and must be able to read what is made for it."""
END_GRACE = 10.0
PATIENCE = 0.5
"""Seconds that one call waits for the end of a command: a reload of the agent waits for the call."""


class JobLost(DeploymentFailed):
    """A command's runner is gone or was ended from outside; the command may or may not have taken effect."""


class DeployJobs:
    """The commands of one action, each `timeout` seconds long at most."""

    def __init__(self, jobs: Jobs, action: str, timeout: float, stop: Stop) -> None:
        self._jobs = jobs
        self._action = action
        self._timeout = timeout
        self._stop = stop

    def done(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        prepare: Callable[[], None] = lambda: None,
        reason: Callable[[CommandResult], str] = failure_text,
        title: str | None = None,
    ) -> bool:
        """Whether the command of that name has succeeded; where it was not started, it is, after `prepare`.

        `title` names it in the output of the action, in place of the command line.
        Waits for its end for `PATIENCE` seconds at most.

        Raises `JobLost`, `DeploymentFailed` with what `reason` makes of its end, `OSError`.
        """
        job = self._jobs.find(self._named(name))
        if job is None:
            prepare()
            recorded = Recorded(title or f"$ {shlex.join(argv)}")
            job = self._jobs.start(
                self._named(name), argv, env=env, cwd=cwd, timeout=self._timeout, umask=UMASK, recorded=recorded
            )
        status = lost_if_stopped(job.await_end(PATIENCE, self._stop))
        if isinstance(status, LostJob):
            raise JobLost(f"{shlex.join(argv)} was lost: {status.why}; it may or may not have taken effect")
        if isinstance(status, ExitedJob):
            _refuse_failed(argv, status, reason)
        return isinstance(status, ExitedJob)

    def end(self, name: str) -> None:
        """End the command of that name, if it runs."""
        if job := self._jobs.find(self._named(name)):
            job.end(END_GRACE)

    def _named(self, name: str) -> str:
        return f"deploy-{self._action}-{name}"


def _refuse_failed(argv: Sequence[str], status: ExitedJob, reason: Callable[[CommandResult], str]) -> None:
    outcome = CommandResult(tuple(argv), status.status, status.output, "", status.ended)
    if not outcome.ok:
        raise DeploymentFailed(reason(outcome))
