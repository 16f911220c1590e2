"""Long commands of a deployment. Each is a job: it runs once, also if the agent ends meanwhile."""

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
"""The units of an application run as another user, who must be able to read its files."""
END_GRACE = 10.0
PATIENCE = 0.5
"""Seconds that one call waits for the end of a command. It is short because a reload of the agent waits for it."""


class JobLost(DeploymentFailed):
    """The runner of a command is gone or was killed; the command may or may not have taken effect."""


class DeployJobs:
    """The commands of one action. Each may take `timeout` seconds."""

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
        """Start the command of that name once, after `prepare`. Returns whether it has succeeded.

        Waits at most `PATIENCE` seconds for its end. `title` replaces the command line in the output of the action.

        Raises `JobLost`, `DeploymentFailed` with the message that `reason` returns, `OSError`.
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
        """End the command of that name if it runs."""
        if job := self._jobs.find(self._named(name)):
            job.end(END_GRACE)

    def _named(self, name: str) -> str:
        return f"deploy-{self._action}-{name}"


def _refuse_failed(argv: Sequence[str], status: ExitedJob, reason: Callable[[CommandResult], str]) -> None:
    outcome = CommandResult(tuple(argv), status.status, status.output, "", status.ended)
    if not outcome.ok:
        raise DeploymentFailed(reason(outcome))
