"""Errors of a deployment."""

from agent.processes.command import CommandError, CommandResult
from agent.supervisors.base import CommandKilled, SupervisorFailed, failure_text


class DeploymentFailed(Exception):
    """A phase has failed; the message says why."""


FAILURES = (DeploymentFailed, SupervisorFailed, CommandError, OSError)
"""Expected errors that end a deployment. Any other exception is a bug in the agent."""


def failure(outcome: CommandResult) -> Exception:
    """The error of a failed short command: `CommandKilled`, which allows a retry, if another process killed it."""
    killed = outcome.ended is None and outcome.status is not None and outcome.status < 0
    return CommandKilled(failure_text(outcome)) if killed else DeploymentFailed(failure_text(outcome))
