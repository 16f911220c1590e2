"""What can go wrong in a deployment."""

from agent.hosts.command import CommandError, Outcome
from agent.supervisors.base import CommandKilled, SupervisorFailed, told


class DeploymentFailed(Exception):
    """A phase has failed; the message is a sentence that says what."""


FAILURES = (DeploymentFailed, SupervisorFailed, CommandError, OSError)
"""What ends a deployment, rather than being a mistake of ours."""


def failure(outcome: Outcome) -> Exception:
    """What a short command that did not succeed is: one that somebody else killed may be run again."""
    killed = outcome.ended is None and outcome.status is not None and outcome.status < 0
    return CommandKilled(told(outcome)) if killed else DeploymentFailed(told(outcome))
