"""What the phases of a deployment are made of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from agent.config import Application
from agent.deployments.failure import DeploymentFailed
from agent.deployments.git import Mirror
from agent.deployments.releases import Releases, hash_of
from agent.deployments.rollout import NO_UNIT, Rollout
from agent.deployments.work import Work, WorkLost
from agent.hosts import command
from agent.hosts.command import Outcome
from agent.hosts.jobs import Jobs
from agent.stop import Stop
from agent.supervisors.base import CommandKilled

Progress = dict[str, Any]
"""How far a deployment is: the payload of its action."""

BEFORE_SWITCH = ("fetch", "checkout", "before")
PLAN = ("services", "before", "after", "health")
"""What it does of the application's options, as they were when it was begun: its progress counts in them."""
TRIES = 3
"""How often a piece that does no harm twice is begun where somebody kills its command, or the host goes down."""


def beginning(
    name: str,
    application: Application,
    git_ref: str,
    strategy: str,
    of_ref: str | None = None,
    *,
    force: bool = False,
) -> Progress:
    """The progress of a deployment that has done nothing yet; without `of_ref` no later commit overtakes it.

    With `force` it deploys a commit that no branch or tag reaches any more.
    """
    return {
        "application": name,
        "path": str(application.path),
        "plan": {option: getattr(application, option) for option in PLAN},
        "phase": "fetch",
        "phases": [],
        "command": 0,
        "killed": 0,
        "git_ref": git_ref,
        "of_ref": of_ref,
        "force": force,
        "deployment_strategy": strategy,
        "git_hash": None,
        "release": None,
        "previous_git_hash": None,
        "previous_release": None,
        "services": [],
    }


class Underway:
    """A deployment at the point that its progress tells."""

    def __init__(self, application: Application, progress: Progress, jobs: Jobs, stop: Stop, action: str) -> None:
        self.application = _as_planned(application, progress)
        self.progress = progress
        self.releases = Releases(application.path)
        self.mirror = Mirror(application)
        self.work = Work(jobs, action, application.timeout, stop)
        self._stop, self._action = stop, action

    def _then(self, phase: str, **more: Any) -> Progress:
        """The progress at the beginning of the next phase."""
        phases = [*self.progress["phases"], self.progress["phase"]]
        return self.progress | {"phase": phase, "phases": phases, "command": 0, "killed": 0} | more

    def _killed_too_often(self) -> bool:
        """Whether a command that was killed now is not to be run again."""
        return bool(self.progress.get("killed", 0) + 1 >= TRIES)

    def _switched(self, phase: str) -> bool:
        if phase == "switch":
            return bool(self.releases.in_use() == self.progress["release"])
        return phase not in BEFORE_SWITCH

    def _commands(self, commands: Sequence[Sequence[str]], then: str) -> Progress:
        """One of them after the other, and then the next phase."""
        number = self.progress["command"]
        if number >= len(commands):
            return self._then(then)
        env = self._environment("release")
        if not self.work.done(self._job(), commands[number], env, self._folder("release")):
            return self.progress
        return self.progress | {"command": number + 1}

    def _git(self, verb: str, argv: Sequence[str], prepare: Callable[[], None], clean: Callable[[], None]) -> bool:
        """Whether git has done it. It is done again where it is not known how far it came, or the mirror was broken."""

        def said(outcome: Outcome) -> str:
            why = self.mirror.why(outcome.stdout) if outcome.ended is None else "it took too long and was ended"
            return f"git could not {verb} {self.progress['git_ref']} of {self.application.repository}: {why}"

        try:
            env = self.mirror.environment()
            return self.work.done(self._job(), argv, env, self.application.path, prepare=prepare, said=said)
        except WorkLost as error:
            self._again(error, clean)
        except DeploymentFailed as error:
            if not self.mirror.is_broken(str(error), self._stop, self._action):
                raise
            if self.progress["phase"] != "fetch":
                self.mirror.discard()
                why = f"{error}; the mirror {self.mirror.path} was broken and is removed: deploy again"
                raise DeploymentFailed(why) from None
            self._again(error, self.mirror.discard)

    def _again(self, error: DeploymentFailed, clean: Callable[[], None]) -> NoReturn:
        """Have the next step run git again, unless it was run `TRIES` times."""
        if self.progress["command"] + 1 == TRIES:
            raise error
        clean()
        self.progress = self.progress | {"command": self.progress["command"] + 1}
        raise CommandKilled(str(error)) from error

    def _prepare_fetch(self) -> None:
        self.mirror.prepare(self._stop, self._action)

    def _prepare_check_out(self) -> None:
        self.mirror.forget_checked_out()
        self.releases.make(self.progress["release"])

    def _job(self) -> str:
        return f"{self.progress['phase']}-{self.progress['command']}".replace(" ", "-")

    def _restarted(self) -> tuple[str, ...]:
        """The units to restart; one without units has its health looked at all the same."""
        if not self.application.services:
            return (NO_UNIT,) if self.application.health else ()
        return () if self.progress["deployment_strategy"] == "none" else self.application.services

    def _noted_units(self) -> dict[str, str | None]:
        """All units at the switch, with the invocations that ran the release before."""
        return dict(self.progress["units"])

    def _rollout(self, release: str) -> Rollout:
        return Rollout(self.application, self._environment(release), self._folder(release), self._stop, self._action)

    def _folder(self, release: str) -> Path:
        return Path(self.application.path, self.progress[release])

    def _environment(self, release: str) -> dict[str, str]:
        """What the commands learn of the release that they work for."""
        previous = self.progress["previous_release"]
        return command.passed_on() | {
            "AGENT_APPLICATION": self.progress["application"],
            "AGENT_RELEASE": str(self._folder(release)),
            "AGENT_GIT_HASH": hash_of(self.progress[release]) or "",
            "AGENT_PREVIOUS_RELEASE": str(self.application.path / previous) if previous else "",
        }


def _as_planned(application: Application, progress: Progress) -> Application:
    """The application with the options that the deployment was begun with; an older agent noted none."""
    plan: Progress = progress.get("plan", {})
    return replace(application, **{option: _tuples(value) for option, value in plan.items()})


def _tuples(value: Any) -> Any:
    """What JSON made lists of, as the configuration has it."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
