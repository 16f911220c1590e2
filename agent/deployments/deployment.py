"""A deployment at its current progress, and the operations that the phases use."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from agent.config import Application
from agent.deployments.errors import DeploymentFailed
from agent.deployments.git import Mirror
from agent.deployments.git_errors import object_format
from agent.deployments.jobs import DeployJobs, JobLost
from agent.deployments.progress import AFTER_COMMANDS, BEFORE_SWITCH, DeployProgress
from agent.deployments.releases import Releases, hash_of
from agent.deployments.rollout import NO_UNIT, Rollout
from agent.jobs.jobs import Jobs
from agent.processes import command
from agent.processes.command import CommandResult
from agent.supervisors.base import CommandKilled
from agent.util.stop import Stop

TRIES = 3
"""Attempts of an idempotent piece whose command is killed or whose host goes down."""


class Deployment:
    """One deploy of one application, by one action."""

    def __init__(self, application: Application, progress: DeployProgress, jobs: Jobs, stop: Stop, action: str) -> None:
        self.application = _as_planned(application, progress.plan)
        self.progress = progress
        self.releases = Releases(application.path)
        self.mirror = Mirror(application)
        self.stop, self.action = stop, action
        self._work = DeployJobs(jobs, action, application.timeout, stop)

    @property
    def release(self) -> str:
        """The new release. Set from the phase `checkout` on."""
        assert self.progress.release is not None
        return self.progress.release

    @property
    def previous_release(self) -> str:
        """The previous release. Set in the phases after a failure."""
        assert self.progress.previous_release is not None
        return self.progress.previous_release

    @property
    def is_switched(self) -> bool:
        """Whether `current` points to the new release."""
        if self.progress.phase == "switch":
            return self.releases.in_use() == self.progress.release
        return self.progress.phase not in BEFORE_SWITCH

    @property
    def was_killed_too_often(self) -> bool:
        """Whether this kill of a command was the last allowed one."""
        return self.progress.killed + 1 >= TRIES

    def commands(self, commands: Sequence[Sequence[str]]) -> DeployProgress:
        """Run the next command; after the last one, return the progress of the next phase."""
        number = self.progress.command
        if number >= len(commands):
            return self.progress.then(AFTER_COMMANDS[self.progress.phase])
        env = self._environment(self.release)
        if not self._work.done(self._job(), commands[number], env, self.folder(self.release)):
            return self.progress
        return replace(self.progress, command=number + 1)

    def git(self, verb: str, argv: Sequence[str], prepare: Callable[[], None], clean: Callable[[], None]) -> bool:
        """Whether git has finished. A lost job and a broken mirror cause another attempt."""
        ref = self.progress.git_ref

        def reason(outcome: CommandResult) -> str:
            why = self.mirror.why(outcome.stdout) if outcome.ended is None else "timed out and was ended"
            return f"git cannot {verb} {ref} of {self.application.repository}: {why or outcome.describe()}"

        env, cwd, title = self.mirror.environment(), self.application.path, f"$ git {verb} {ref}"
        try:
            return self._work.done(self._job(), argv, env, cwd, prepare=prepare, reason=reason, title=title)
        except JobLost as error:
            self._retry(error, clean)
        except DeploymentFailed as error:
            if (format := object_format(str(error))) is not None:
                self._retry(error, lambda: self.mirror.make(format, self.stop, self.action))
            if not self.mirror.is_broken(str(error), self.stop, self.action):
                raise
            if self.progress.phase != "fetch":
                self.mirror.discard()
                why = f"{error}; the mirror {self.mirror.path} was broken and is removed: deploy again"
                raise DeploymentFailed(why) from None
            self._retry(error, self.mirror.discard)

    def end_command(self) -> None:
        """End the command of this phase, if it runs."""
        self._work.end(self._job())

    def units_to_restart(self) -> tuple[str, ...]:
        """The units of the restart phase. `NO_UNIT` if there are none: the health check runs all the same."""
        if not self.application.services:
            return (NO_UNIT,) if self.application.health else ()
        return () if self.progress.deployment_strategy == "none" else self.application.services

    def rollout(self, release: str) -> Rollout:
        """The restarts of the units, with this release."""
        return Rollout(self.application, self._environment(release), self.folder(release), self.stop, self.action)

    def folder(self, release: str) -> Path:
        return self.application.path / release

    def _retry(self, error: DeploymentFailed, clean: Callable[[], None]) -> NoReturn:
        """Make the next step run git again. Raises `error` after `TRIES` attempts."""
        if self.progress.command + 1 == TRIES:
            raise error
        clean()
        self.progress = replace(self.progress, command=self.progress.command + 1)
        raise CommandKilled(str(error)) from error

    def _job(self) -> str:
        return f"{self.progress.phase}-{self.progress.command}".replace(" ", "-")

    def _environment(self, release: str) -> dict[str, str]:
        """The environment of the commands: names the release that they work for."""
        previous = self.progress.previous_release
        return command.passed_on() | {
            "AGENT_APPLICATION": self.progress.application,
            "AGENT_RELEASE": str(self.folder(release)),
            "AGENT_GIT_HASH": hash_of(release) or "",
            "AGENT_PREVIOUS_RELEASE": str(self.folder(previous)) if previous else "",
        }


def _as_planned(application: Application, plan: dict[str, Any]) -> Application:
    """The application with the options stored at the start of the deployment. An older agent stored none."""
    return replace(application, **{option: _tuples(value) for option, value in plan.items()})


def _tuples(value: Any) -> Any:
    """The value with tuples, as in the configuration: JSON turned them into lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
