"""`deploy`: make a commit of an application's repository the release in use."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from agent import clock
from agent.config import Settings, git_names
from agent.config.mistakes import Mistake
from agent.deployments import orphaned
from agent.deployments.advance import advance, cancel
from agent.deployments.deployment import Deployment
from agent.deployments.errors import DeploymentFailed
from agent.deployments.git import WHOLE_HASH
from agent.deployments.progress import DONE, GIVEN_UP, OVERTAKEN, DeployProgress, beginning
from agent.deployments.releases import Releases, hash_of
from agent.deployments.rollout import ended
from agent.jobs.jobs import Jobs
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult
from agent.kinds.base.arguments import Flag
from agent.kinds.base.orphaned import give_up
from agent.models import Json
from agent.plan import Danger, Plan, Would, refuse
from agent.util.poll import pause_after

KILLED_PAUSE = 1.0
"""Seconds before a killed command is run again: if the host is shutting down, the agent is stopped meanwhile."""
LONGEST_PUSHER = 255
STRATEGIES = ("rolling", "parallel", "none")


def _is(check: Callable[[Any], Any]) -> Callable[[str], None]:
    """Use a check of the configuration as the validator of an argument."""

    def validate(value: str) -> None:
        try:
            check(value)
        except Mistake as mistake:
            raise ValidationError(f"Must be {mistake.expected}.") from None

    return validate


class DeployArgs(Args):
    application = fields.String(
        metadata={"description": "The application's name in the configuration; optional if there is only one."}
    )
    git_ref = fields.String(
        validate=_is(git_names.git_ref),
        metadata={
            "description": "A branch, tag or commit; default: the application's `ref`. A full hash always means "
            "that commit; any other name that matches several commits is refused as ambiguous."
        },
    )
    of_ref = fields.String(
        validate=_is(git_names.whole_ref),
        metadata={
            "description": "For example `refs/heads/main`: deploy only while this ref points to `git_ref`, which must "
            "be a full commit hash. If it points to another commit, the action is done and deploys nothing."
        },
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Deploy the commit even if no branch or tag reaches it any more."},
    )
    pusher = fields.String(
        validate=validate.Length(1, LONGEST_PUSHER),
        metadata={"description": "The user who pushed, according to the sender of a hook; informative only."},
    )
    deployment_strategy = fields.String(
        validate=validate.OneOf(STRATEGIES),
        metadata={"description": "How the units are restarted; default: the application's `strategy`."},
    )

    @validates_schema
    def _a_whole_commit(self, data: dict[str, Any], **_: Any) -> None:
        if "of_ref" in data and not WHOLE_HASH.fullmatch(data.get("git_ref", "")):
            raise ValidationError("Must be a full commit hash if of_ref is given.", "git_ref")


class DeployResult(Args):
    deploy_session = fields.String(required=True, metadata={"description": "The id of this deploy."})
    git_hash = fields.String(required=True, metadata={"description": "The deployed or overtaken commit."})
    servers_deployed = fields.Integer(required=True, metadata={"description": "1: this node; 0 if overtaken."})
    previous_git_hash = fields.String(
        required=True, allow_none=True, metadata={"description": "The commit that was deployed before."}
    )
    overtaken_by = fields.String(
        allow_none=True,
        metadata={"description": "If overtaken: the commit that `of_ref` points to; null if the ref no longer exists."},
    )
    application = fields.String(required=True, metadata={"description": "Its name."})
    release = fields.String(
        required=True, allow_none=True, metadata={"description": "The folder of the release; null if overtaken."}
    )
    services = fields.List(
        fields.Dict(), required=True, metadata={"description": "The units that were restarted: unit and pid."}
    )


class Deploy(Kind):
    """Deploy a commit of an application: fetch it, check it out into a new release folder, run the `before` commands,
    switch `current` to the release atomically, restart the units, run the `after` commands, remove the oldest releases.

    The next unit is restarted only when the restarted ones are up and healthy. On a failure after the switch,
    `current` and the units are rolled back to the previous release, and the action fails with that message. A commit
    that is in use already is deployed again. A commit with submodules or Git LFS files is refused.

    Cancel or timeout before the switch: nothing changes. After the switch: `current` points to the previous release
    again, without restarts; units already restarted keep running the new release until they are restarted. While only
    old releases remain to be removed: the new release stays deployed. The action uses the commands and units that were
    configured when it began.
    """

    name = "deploy"
    args = DeployArgs
    result = DeployResult
    resource_type = "Stack"
    danger = Danger.DISRUPTS
    configuration = "``[applications.NAME]``. git must be installed."
    privileges = (
        "To write below ``path``, to read ``ssh_key`` and ``credentials``, to restart and ``reset-failed`` the "
        "application's units, and the permissions that its commands need."
    )
    interruption = (
        "The action continues in its phase, also in a rollback. Its commands are jobs and outlive the agent. If the "
        "host went down or the job was killed, git is run again, at most three times; a command of ``before`` or "
        "``after`` is not run again: the action fails, and the command may have taken effect. ``health`` is checked "
        "again. If the application is no longer configured, the action ends its command and fails; the message says "
        "where ``current`` points to and which units were restarted."
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._applications = settings.applications
        self._jobs_directory = settings.agent.jobs
        known = validate.OneOf(list(self._applications), error="Must be one of: {choices}.")
        field = self.schema.fields["application"]
        field.validators = [known]
        field.required = len(self._applications) > 1
        # Copied, because the field shares the dictionary with its class.
        field.error_messages = field.error_messages | {"required": f"Must be one of: {', '.join(self._applications)}."}

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        if not settings.applications:
            raise NotOffered("set [applications.NAME] in the configuration")
        if shutil.which("git") is None:
            raise NotOffered("git was not found: install it")
        paths = [application.path for application in settings.applications.values()]
        if len(set(paths)) < len(paths):
            raise NotOffered("each of [applications] must have a path of its own")
        yield cls(settings)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self.settings.agent.stack

    def load_resumed(self, args: Json, payload: Json) -> Any:
        """An action that named no application uses the one in its payload: others may have been configured since."""
        begun = payload.get("application") if isinstance(payload, dict) else None
        return self.load({"application": begun} | args if begun in self._applications else args)

    def plan(self, args: Any) -> Plan:
        name = args.get("application") or next(iter(self._applications))
        application = self._applications[name]
        ref = args.get("git_ref", application.ref)
        strategy = args.get("deployment_strategy", application.strategy)
        units = application.services if strategy != "none" else ()
        try:
            current = Releases(application.path).in_use()
        except DeploymentFailed as error:
            return refuse(str(error), "repair the application's folder")
        return Plan(
            Would.DISRUPT if units else Would.CHANGE,
            f"{name} would be deployed at {ref}",
            steps=["fetch", "check out", *(f"run {each[0]}" for each in application.before), "switch `current`",
                   *(f"restart {unit}" for unit in units), *(f"run {each[0]}" for each in application.after)],
            facts={"application": name, "git_ref": ref, "previous_git_hash": hash_of(current), "strategy": strategy},
        )  # fmt: skip

    def step(self, step: Step) -> StepResult:
        if step.payload is None:
            return self._begin(step)
        before = DeployProgress.of(step.payload)
        if why := self._gone(before):
            return give_up(Deploy, self.settings, step, why)
        progress = advance(self._deployment(step, before))
        if progress.phase == DONE:
            return self._done(step, progress)
        if progress.phase == GIVEN_UP:
            return _failed(progress)
        if progress.phase == OVERTAKEN:
            return _overtaken(step, progress)
        return Running(progress.payload(), after=_pause(before, progress))

    # Each part checks whether it was done already, or is harmless to repeat.
    resume = step

    def cancel(self, step: Step) -> None:
        # The payload of a failed action has other members.
        if not step.payload or "application" not in step.payload:
            return
        progress = DeployProgress.of(step.payload)
        if why := self._gone(progress):
            give_up(Deploy, self.settings, step, why)
        else:
            cancel(self._deployment(step, progress))

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        return orphaned.left(DeployProgress.of(payload))

    def _begin(self, step: Step) -> StepResult:
        # The jobs of earlier actions, which are final.
        Jobs(self._jobs_directory).forget_ended()
        name = step.args.get("application") or next(iter(self._applications))
        application = self._applications[name]
        try:
            Releases(application.path).prepare()
        except OSError as error:
            return _refused(f"{error.filename} cannot be made: {error.strerror}")
        ref = step.args.get("git_ref", application.ref)
        strategy = step.args.get("deployment_strategy", application.strategy)
        force = step.args["force"]
        return Running(beginning(name, application, ref, strategy, step.args.get("of_ref"), force=force).payload())

    def _gone(self, progress: DeployProgress) -> str:
        """The reason why the action cannot continue with its application; empty if it can."""
        name = progress.application
        if name not in self._applications:
            return f"the application {name} is no longer in the configuration"
        # Actions begun by an older agent have no path in the payload.
        if progress.path not in (None, str(path := self._applications[name].path)):
            return f"the path of the application {name} was changed to {path} meanwhile"
        return ""

    def _deployment(self, step: Step, progress: DeployProgress) -> Deployment:
        application = self._applications[progress.application]
        return Deployment(application, progress, Jobs(self._jobs_directory), step.stop, step.action.id)

    def _done(self, step: Step, progress: DeployProgress) -> Done:
        name = progress.application
        result = _result(step, progress) | {
            "git_hash": progress.git_hash,
            "servers_deployed": 1,
            "release": str(self._applications[name].path / str(progress.release)),
            "services": [{"unit": each["unit"], "pid": each["pid"]} for each in progress.services if each["unit"]],
        }
        left = f"; not removed: {', '.join(progress.left)}" if progress.left else ""
        return Done(result, f"{name} is deployed at {progress.git_ref}, commit {progress.git_hash}{left}")


def _result(step: Step, progress: DeployProgress) -> dict[str, Json]:
    """The members that the results of a deployed and of an overtaken commit share."""
    return {
        "deploy_session": f"deploy-session-{step.action.seq}",
        "previous_git_hash": progress.previous_git_hash,
        "application": progress.application,
    }


def _overtaken(step: Step, progress: DeployProgress) -> Done:
    ref, tip = progress.of_ref, progress.overtaken_by
    result = _result(step, progress) | {
        "git_hash": progress.git_ref,
        "servers_deployed": 0,
        "overtaken_by": tip,
        "release": None,
        "services": [],
    }
    why = f"{ref} points to commit {tip} by now" if tip else f"{ref} no longer exists"
    message = f"commit {progress.git_ref} was overtaken and is not deployed: {why}"
    return Done(result, f"{message}; {progress.application} is unchanged")


def _position(progress: DeployProgress) -> Json:
    """The progress without the changing status of the awaited unit."""
    return progress.phase, progress.command, [each["state"] for each in _units(progress)]


def _units(progress: DeployProgress) -> list[dict[str, Any]]:
    """The restarts, forward and back."""
    return [*progress.services, *(progress.back or ())]


def _pause(before: DeployProgress, progress: DeployProgress) -> float:
    if progress.killed:
        return KILLED_PAUSE
    if _position(before) != _position(progress):
        return 0.0
    # No delay: the step itself waits for the job.
    if progress.phase not in ("restart", "rollback"):
        return 0.0
    # The interval of the checks follows the unit that is awaited longest.
    awaited = [each["since"] for each in _units(progress) if not ended(each) and "since" in each]
    return pause_after(clock.monotonic() - min(awaited, default=clock.monotonic()))


def _refused(message: str) -> Failed:
    return Failed({"message": message}, message)


def _failed(progress: DeployProgress) -> Failed:
    payload = {
        "message": progress.error,
        "phase": progress.failed_in,
        "git_hash": progress.git_hash,
        "previous_git_hash": progress.previous_git_hash,
    }
    return Failed(payload, str(progress.error))
