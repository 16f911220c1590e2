"""Progress of a deployment, stored as the payload of its action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from agent.config import Application

DONE, GIVEN_UP, OVERTAKEN = "done", "given up", "overtaken"
"""The final phases."""
BEFORE_SWITCH = ("fetch", "checkout", "before")
"""The phases in which `current` points to the previous release."""
BACK = ("switch back", "rollback")
"""The phases after a failure."""
AFTER_COMMANDS = {"before": "switch", "after": "prune"}
"""The phase that follows the commands of each option."""
PLAN = ("services", "before", "after", "health")
"""Options of the application that are stored at the start: the progress contains indexes into them."""

Unit = dict[str, Any]
"""Progress of the restart of one unit: see `agent.supervisors.systemd.unit_target`."""


@dataclass(frozen=True, kw_only=True)
class DeployProgress:
    """Members that are not known yet are None. Members with a default are missing in payloads of older agents."""

    application: str
    phase: str
    path: str | None = None
    plan: dict[str, Any] = field(default_factory=dict)
    phases: list[str] = field(default_factory=list)
    """The finished phases."""
    command: int = 0
    """The number of commands of this phase that have run; for git, the number of retries."""
    killed: int = 0
    """How often the command of the current piece was killed."""
    git_ref: str = ""
    of_ref: str | None = None
    """Deploy only while this ref points to `git_ref`."""
    force: bool = False
    deployment_strategy: str = ""
    git_hash: str | None = None
    release: str | None = None
    previous_git_hash: str | None = None
    previous_release: str | None = None
    services: list[Unit] = field(default_factory=list)
    """The restarted units and the one being restarted."""
    units: dict[str, str | None] | None = None
    """All units at the switch, with their invocation of the previous release."""
    left: list[str] | None = None
    """Old releases that could not be removed."""
    restarted: list[str] | None = None
    """The units to restart in a rollback."""
    back: list[Unit] | None = None
    """Like `services`, for the rollback."""
    overtaken_by: str | None = None
    error: str | None = None
    failed_in: str | None = None

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> DeployProgress:
        """The progress stored in a payload."""
        return cls(**{each.name: payload[each.name] for each in fields(cls) if each.name in payload})

    def payload(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None or name in ALWAYS}

    def then(self, phase: str, **more: Any) -> DeployProgress:
        """The progress at the beginning of the next phase. A phase without commands is skipped."""
        phases = [*self.phases, self.phase]
        if phase in AFTER_COMMANDS and phase in self.plan and not self.plan[phase]:
            phases, phase = [*phases, phase], AFTER_COMMANDS[phase]
        return replace(self, phase=phase, phases=phases, command=0, killed=0, **more)


ALWAYS = ("of_ref", "git_hash", "release", "previous_git_hash", "previous_release")
"""Members that the payload always contains, null until they are known."""


def beginning(
    name: str, application: Application, git_ref: str, strategy: str, of_ref: str | None = None, *, force: bool = False
) -> DeployProgress:
    """The first progress of a deployment. Without `of_ref`, no later commit overtakes it.

    `force` also deploys a commit that no branch or tag contains any more.
    """
    return DeployProgress(
        application=name,
        path=str(application.path),
        plan={option: getattr(application, option) for option in PLAN},
        phase="fetch",
        git_ref=git_ref,
        of_ref=of_ref,
        force=force,
        deployment_strategy=strategy,
    )
