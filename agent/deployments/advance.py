"""Runs the phases of a deployment: forward, back after a failure, and the end after a cancel."""

from contextlib import suppress
from dataclasses import replace

from agent import log
from agent.deployments.deployment import Deployment
from agent.deployments.errors import FAILURES
from agent.deployments.phases import PHASES, give_up
from agent.deployments.progress import BACK, DONE, GIVEN_UP, DeployProgress
from agent.supervisors.base import CommandKilled


def advance(deployment: Deployment) -> DeployProgress:
    """Do the next piece of work. Returns the progress, with everything that the following piece needs."""
    try:
        return replace(PHASES[deployment.progress.phase](deployment), killed=0)
    except CommandKilled as error:
        # The agent's unit is being stopped: the next agent process repeats the piece.
        if deployment.was_killed_too_often:
            return _failed(deployment, _reason(error))
        return replace(deployment.progress, killed=deployment.progress.killed + 1)
    except FAILURES as error:
        return _failed(deployment, _reason(error))
    except Exception as error:
        # A bug in the agent must not leave an unchecked release in use.
        log.step_raised(deployment.action, "deploy", error)
        return _failed(deployment, f"{type(error).__name__}: {error}")


def cancel(deployment: Deployment) -> None:
    """End the running command. After the switch, point `current` to the previous release; restart no unit.

    `current` keeps the new release if only the removal of old releases is left.
    """
    progress = deployment.progress
    deployment.end_command()
    _sweep(deployment)
    if progress.phase in (DONE, GIVEN_UP, "prune"):
        return
    if not deployment.is_switched:
        _remove_release(deployment)
    elif progress.previous_release is not None:
        deployment.releases.switch(progress.previous_release)


def _failed(deployment: Deployment, error: str) -> DeployProgress:
    """The progress after a failure: go back if `current` was switched, else give up."""
    progress = deployment.progress
    if progress.phase in BACK:
        return give_up(progress, f"; the rollback failed too: {error}")
    progress = replace(progress, error=error, failed_in=progress.phase)
    _sweep(deployment)
    if not deployment.is_switched:
        _remove_release(deployment)
        return give_up(progress, "; `current` was not switched")
    if progress.previous_release is None:
        return give_up(progress, "; there is no previous release")
    return progress.then("switch back")


def _sweep(deployment: Deployment) -> None:
    """Remove unfinished files of git now: a next fetch, which would also do so, may never come."""
    if deployment.progress.phase == "fetch":
        with suppress(OSError):
            deployment.mirror.sweep()


def _remove_release(deployment: Deployment) -> None:
    if deployment.progress.release is not None:
        deployment.releases.remove(deployment.progress.release)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
