"""The end of a deployment whose application is no longer configured: only its progress is known."""

from pathlib import Path

from agent.deployments.errors import DeploymentFailed
from agent.deployments.progress import BACK, BEFORE_SWITCH, DeployProgress
from agent.deployments.releases import LINK, Releases
from agent.deployments.rollout import FAILED, HEALTHY

HOW = {HEALTHY: "restarted", FAILED: "failed", "noted": "not restarted"}


def left(progress: DeployProgress) -> str:
    """Remove a release that was never in use. Returns a sentence about `current` and the restarted units."""
    if progress.path is None:
        return f"it was in the phase {progress.phase}, and `current` and the units are as they were then"
    releases, release, phase = Releases(Path(progress.path)), progress.release, progress.phase
    try:
        in_use = releases.in_use()
    except DeploymentFailed as error:
        return str(error)
    link = releases.path / LINK
    if phase in BEFORE_SWITCH or (phase == "switch" and in_use != release):
        if release:
            releases.remove(release)
        return f"{link} was not switched"
    how = "was switched back" if phase in BACK and in_use == progress.previous_release else "stays switched"
    return f"{link} {how} to {in_use}; {_units(progress)}"


def _units(progress: DeployProgress) -> str:
    """The restarts of the units since the last switch of `current`: which are done, failed or missing."""
    back = progress.phase == "rollback"
    names = (progress.restarted if back else list(progress.units or ())) or []
    done = (progress.back or []) if back else progress.services
    units_by_state: dict[str, list[str]] = {}
    for each in done:
        units_by_state.setdefault(HOW.get(each["state"], "being restarted"), []).append(each["unit"])
    units_by_state.setdefault("not restarted", []).extend(names[len(done) :])
    parts = [f"{how}: {', '.join(units)}" for how, units in units_by_state.items() if any(units)]
    return "; ".join(parts) or "it has no unit to restart"
