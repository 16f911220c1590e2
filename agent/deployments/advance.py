"""Takes a deployment forward, back after a failure, and ends it where its action is cancelled."""

from contextlib import suppress
from dataclasses import replace

from agent import log
from agent.deployments.deployment import Deployment
from agent.deployments.errors import FAILURES
from agent.deployments.phases import PHASES, give_up
from agent.deployments.progress import BACK, DONE, GIVEN_UP, DeployProgress
from agent.supervisors.base import CommandKilled


def advance(deployment: Deployment) -> DeployProgress:
    """The progress after the next piece of work; it holds everything that the piece after that needs."""
    try:
        return replace(PHASES[deployment.progress.phase](deployment), killed=0)
    except CommandKilled as error:
        # The agent's unit is being stopped: the next agent does the piece again.
        if deployment.was_killed_too_often:
            return _failed(deployment, _reason(error))
        return replace(deployment.progress, killed=deployment.progress.killed + 1)
    except FAILURES as error:
        return _failed(deployment, _reason(error))
    except Exception as error:
        # A mistake of ours must not leave an unchecked release in use.
        log.step_raised(deployment.action, "deploy", error)
        return _failed(deployment, f"{type(error).__name__}: {error}")


def cancel(deployment: Deployment) -> None:
    """End what runs. Before the switch nothing was changed; after it `current` goes back, and no unit does.

    `current` stays where all but the removal of old releases is done.
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
    """What is to be done about a failure: it depends on whether `current` was switched."""
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
    """Remove what git had not finished: the next fetch would, but that may never come."""
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
