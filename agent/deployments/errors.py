"""What can go wrong in a deployment."""

from agent.processes.command import CommandError, CommandResult
from agent.supervisors.base import CommandKilled, SupervisorFailed, failure_text


class DeploymentFailed(Exception):
    """A phase has failed; the message is a sentence that says what."""


FAILURES = (DeploymentFailed, SupervisorFailed, CommandError, OSError)
"""What ends a deployment, rather than being a mistake of ours."""


def failure(outcome: CommandResult) -> Exception:
    """The error of a failed short command: one that was killed from outside may be run again."""
    killed = outcome.ended is None and outcome.status is not None and outcome.status < 0
    return CommandKilled(failure_text(outcome)) if killed else DeploymentFailed(failure_text(outcome))
