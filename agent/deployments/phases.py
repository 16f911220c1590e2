"""The phases of a deployment, forward and back. Each function does one short piece of its phase."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.deployments.deployment import Deployment
from agent.deployments.errors import FAILURES, failure
from agent.deployments.progress import DONE, GIVEN_UP, OVERTAKEN, DeployProgress, Unit
from agent.deployments.releases import hash_of
from agent.deployments.rollout import FAILED, ended
from agent.processes import command
from agent.supervisors.base import CommandKilled

# Forward


def fetch(deployment: Deployment) -> DeployProgress:
    """Update the mirror and find the commit."""
    mirror, progress, context = deployment.mirror, deployment.progress, (deployment.stop, deployment.action)
    if not deployment.git("fetch", mirror.fetch(), lambda: mirror.prepare(*context), mirror.discard):
        return progress
    if progress.of_ref:
        tip = mirror.find(progress.of_ref, *context)
        if tip is None or tip != mirror.find(progress.git_ref, *context):
            return _overtaken(deployment, tip)
    git_hash = mirror.resolve(progress.git_ref, *context, force=progress.force)
    mirror.refuse_files_elsewhere(git_hash, *context)
    return progress.then("checkout", git_hash=git_hash, release=deployment.releases.named(git_hash))


def _overtaken(deployment: Deployment, tip: str | None) -> DeployProgress:
    """Deploy nothing: another deploy has the commit that `of_ref` points to now."""
    previous = hash_of(deployment.releases.in_use())
    return deployment.progress.then(OVERTAKEN, overtaken_by=tip, previous_git_hash=previous)


def check_out(deployment: Deployment) -> DeployProgress:
    """Write the files of the commit into the folder of the release."""

    def prepare() -> None:
        deployment.mirror.forget_checked_out()
        deployment.releases.make(deployment.release)

    argv = deployment.mirror.check_out(str(deployment.progress.git_hash), deployment.folder(deployment.release))
    if not deployment.git("check out", argv, prepare, lambda: None):
        return deployment.progress
    previous = deployment.releases.in_use()
    return deployment.progress.then("before", previous_release=previous, previous_git_hash=hash_of(previous))


def before(deployment: Deployment) -> DeployProgress:
    """Run the commands `before`. They may install the units: only the next phase reads their state."""
    return deployment.commands(deployment.application.before)


def switch(deployment: Deployment) -> DeployProgress:
    """Record the invocations of the units, sync the files of the release to disk, then point `current` to it."""
    release, services = deployment.release, deployment.application.services
    if deployment.progress.units is None:
        return replace(deployment.progress, units=deployment.rollout(release).invocations(services))
    synced = command.run(
        ["sync", "-f", "--", str(deployment.folder(release))],
        timeout=deployment.application.timeout,
        stop=deployment.stop,
        action=deployment.action,
    )
    if not synced.ok:
        raise failure(synced)
    deployment.releases.switch(release)
    return deployment.progress.then("restart")


def restart(deployment: Deployment) -> DeployProgress:
    """Restart the units as the strategy demands."""
    names, done = deployment.units_to_restart(), deployment.progress.services
    if not _all_ended(names, done):
        rollout = deployment.rollout(deployment.release)
        advance = rollout.parallel if deployment.progress.deployment_strategy == "parallel" else rollout.rolling
        done = advance(names, done)
    progress = replace(deployment.progress, services=done)
    return progress.then("after") if _all_ended(names, done) else progress


def _all_ended(names: Sequence[str], done: list[Unit]) -> bool:
    return len(done) == len(names) and all(map(ended, done))


def after(deployment: Deployment) -> DeployProgress:
    """Run the commands `after`."""
    return deployment.commands(deployment.application.after)


def prune(deployment: Deployment) -> DeployProgress:
    """Remove the oldest releases. A failed removal does not fail the deploy."""
    releases, needed = deployment.releases, [deployment.progress.release, deployment.progress.previous_release]
    left = releases.sweep()
    for release in list(releases.superfluous(deployment.application.keep, needed)):
        if not (deployment.stop.requested or releases.remove(release)):
            left.append(release)
    return deployment.progress.then(DONE, left=left)


# Back


def switch_back(deployment: Deployment) -> DeployProgress:
    """Point `current` to the previous release, and find the units that no longer run that release."""
    progress, previous = deployment.progress, deployment.previous_release
    deployment.releases.switch(previous)
    left = deployment.rollout(previous).have_left(progress.units or {}, progress.services)
    return progress.then("rollback", back=[], restarted=left)


def restart_back(deployment: Deployment) -> DeployProgress:
    """Restart the units that left the previous release, the failed one first. A unit that fails here too is skipped."""
    names, back = deployment.progress.restarted or [], deployment.progress.back or []
    if len(back) == len(names) and (not back or ended(back[-1])):
        return _rolled_back(deployment, back)
    rollout = deployment.rollout(deployment.previous_release)
    try:
        return replace(deployment.progress, back=rollout.rolling(names, back))
    except FAILURES as error:
        if isinstance(error, CommandKilled) and not deployment.was_killed_too_often:
            raise
        return replace(deployment.progress, back=rollout.give_up(names, back, str(error)))


def _rolled_back(deployment: Deployment, back: list[Unit]) -> DeployProgress:
    name = hash_of(deployment.previous_release) or deployment.previous_release
    failures = [each["message"] for each in back if each["state"] == FAILED]
    if failures:
        return give_up(deployment.progress, f"; the rollback to {name} failed too: {'; '.join(failures)}")
    deployment.releases.remove(deployment.release)
    return give_up(deployment.progress, f"; rolled back to {name}")


def give_up(progress: DeployProgress, consequence: str) -> DeployProgress:
    """The end of a failed deployment: its error, and the fate of the release."""
    return progress.then(GIVEN_UP, error=f"{progress.error}{consequence}")


PHASES: dict[str, Callable[[Deployment], DeployProgress]] = {
    "fetch": fetch,
    "checkout": check_out,
    "before": before,
    "switch": switch,
    "restart": restart,
    "after": after,
    "prune": prune,
    "switch back": switch_back,
    "rollback": restart_back,
}
