"""`deploy`: a commit of an application's repository becomes the release in use."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from agent import checks
from agent.config import Settings
from agent.deployments import abandoned, deployment
from agent.deployments.deployment import Deployment
from agent.deployments.failure import DeploymentFailed
from agent.deployments.git import WHOLE_HASH
from agent.deployments.releases import Releases, hash_of
from agent.deployments.underway import Progress, beginning
from agent.hosts.jobs import Jobs
from agent.kinds.arguments import Flag
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Outcome, Running, Step
from agent.kinds.given_up import give_up
from agent.models import Json
from agent.plan import Danger, Plan, Would, refuse

ASK_EVERY = 0.5
"""Seconds between two looks at units, and tries of `health`."""
KILLED_PAUSE = 1.0
"""Seconds before a command that was killed is run again: where the host goes down we hear of it meanwhile."""
LONGEST_PUSHER = 255
STRATEGIES = ("rolling", "parallel", "none")


def _is(check: Callable[[Any], Any]) -> Callable[[str], None]:
    """A check of the configuration, for an argument."""

    def validate(value: str) -> None:
        try:
            check(value)
        except checks.Wrong as wrong:
            raise ValidationError(f"Must be {wrong.expected}.") from None

    return validate


class DeployArgs(Args):
    application = fields.String(
        metadata={"description": "Its name in the configuration; may be left out for the only one."}
    )
    git_ref = fields.String(
        validate=_is(checks.git_ref),
        metadata={
            "description": "A branch, a tag or a commit; the application's `ref` unless given. The full hash of a "
            "commit is this commit; any other name of several commits is refused as ambiguous."
        },
    )
    of_ref = fields.String(
        validate=_is(checks.whole_ref),
        metadata={
            "description": "Such as `refs/heads/main`: deploy only while it points to `git_ref`, which must be a whole "
            "commit then. One that was overtaken is done, and deploys nothing."
        },
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Deploy a commit also where no branch or tag reaches it any more."},
    )
    pusher = fields.String(
        validate=validate.Length(1, LONGEST_PUSHER),
        metadata={"description": "Who pushed, as the sender of a hook says; it changes nothing."},
    )
    deployment_strategy = fields.String(
        validate=validate.OneOf(STRATEGIES),
        metadata={"description": "How its units are restarted; the application's `strategy` unless given."},
    )

    @validates_schema
    def _a_whole_commit(self, data: dict[str, Any], **_: Any) -> None:
        if "of_ref" in data and not WHOLE_HASH.fullmatch(data.get("git_ref", "")):
            raise ValidationError("Must be a whole commit where of_ref is given.", "git_ref")


class DeployResult(Args):
    deploy_session = fields.String(required=True, metadata={"description": "The id of this deploy."})
    git_hash = fields.String(required=True, metadata={"description": "The commit that is deployed, or was overtaken."})
    servers_deployed = fields.Integer(required=True, metadata={"description": "1: this node; 0 if overtaken."})
    previous_git_hash = fields.String(
        required=True, allow_none=True, metadata={"description": "The commit that was deployed before."}
    )
    overtaken_by = fields.String(
        allow_none=True,
        metadata={
            "description": "If overtaken: the commit that `of_ref` points to; null where it is not there any more."
        },
    )
    application = fields.String(required=True, metadata={"description": "Its name."})
    release = fields.String(
        required=True, allow_none=True, metadata={"description": "The folder it is in; null if overtaken."}
    )
    services = fields.List(
        fields.Dict(), required=True, metadata={"description": "The units that were restarted: unit and pid."}
    )


class Deploy(Kind):
    """Deploy a commit of an application: fetch it, check it out into a release of its own, run the commands before,
    switch `current` to it at once, restart the units, run the commands after, remove the oldest releases.

    A unit must be up and healthy before it counts. Where something fails after the switch, `current` and the units
    go back to the release before, and the action fails saying so. The commit that is in use already is deployed again.
    A commit with submodules or files in Git LFS is refused. Cancelled or out of time before the switch it changes
    nothing; after it `current` goes back, but no unit is restarted: those that were run the new release until they
    are. Where only old releases are to be removed yet it stays deployed. What it runs and restarts is what was
    configured when it was begun.
    """

    name = "deploy"
    args = DeployArgs
    result = DeployResult
    resource_type = "Stack"
    danger = Danger.DISRUPTS
    configuration = "``[applications.NAME]``. git must be installed."
    privileges = (
        "To write below ``path``, to read ``ssh_key`` and ``credentials``, to restart the application's units and to "
        "``reset-failed`` them, and what its commands need."
    )
    interruption = (
        "It goes on in the phase it was in, a rollback too. Its commands are jobs, which go on by themselves. Where "
        "the host went down, or somebody ended the job, git is run again, three times at most; a command of "
        "``before`` or ``after`` never is: it fails the action and may have taken effect. ``health`` is asked again. "
        "Where the application was taken out of the configuration it ends its command and fails, and says what "
        "``current`` leads to and which units were restarted."
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._applications = settings.applications
        self._jobs_directory = settings.agent.jobs
        known = validate.OneOf(list(self._applications), error="Must be one of: {choices}.")
        field = self.schema.fields["application"]
        field.validators = [known]
        field.required = len(self._applications) > 1
        # The messages of a field are those of its class until it gets its own.
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

    def load_again(self, args: Json, payload: Json) -> Any:
        """The only application need not have been named, and may have got company since."""
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

    def step(self, step: Step) -> Outcome:
        if step.payload is None:
            return self._begin(step)
        if why := self._gone(step.payload):
            return give_up(Deploy, self.settings, step, why)
        progress = self._deployment(step).go_on()
        if progress["phase"] == deployment.DONE:
            return self._done(step, progress)
        if progress["phase"] == deployment.GIVEN_UP:
            return _failed(progress)
        if progress["phase"] == deployment.OVERTAKEN:
            return _overtaken(step, progress)
        return Running(progress, after=_pause(step.payload, progress))

    # Each piece looks whether it was done, or is one that may be done again.
    resume = step

    def cancel(self, step: Step) -> None:
        # The payload of one that has failed already is another.
        if not step.payload or "application" not in step.payload:
            return
        if why := self._gone(step.payload):
            give_up(Deploy, self.settings, step, why)
        else:
            self._deployment(step).cancel()

    @classmethod
    def left(cls, payload: Json) -> str:
        return abandoned.left(payload)

    def _begin(self, step: Step) -> Outcome:
        # Those of actions before this one, which are final.
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
        return Running(beginning(name, application, ref, strategy, step.args.get("of_ref"), force=force))

    def _gone(self, progress: Progress) -> str:
        """Why it cannot go on with the application that it was begun with; empty where it can."""
        name = progress["application"]
        if name not in self._applications:
            return f"the application {name} is not in the configuration any more"
        # An older agent did not write it down.
        if progress.get("path", str(path := self._applications[name].path)) != str(path):
            return f"the path of the application {name} was changed to {path} meanwhile"
        return ""

    def _deployment(self, step: Step) -> Deployment:
        application = self._applications[step.payload["application"]]
        return Deployment(application, step.payload, Jobs(self._jobs_directory), step.stop, step.action.id)

    def _done(self, step: Step, progress: Progress) -> Done:
        name = progress["application"]
        result = _result(step, progress) | {
            "git_hash": progress["git_hash"],
            "servers_deployed": 1,
            "release": str(self._applications[name].path / progress["release"]),
            "services": [{"unit": each["unit"], "pid": each["pid"]} for each in progress["services"] if each["unit"]],
        }
        left = f"; could not remove {', '.join(progress['left'])}" if progress["left"] else ""
        return Done(result, f"{name} is deployed at {progress['git_ref']}, commit {progress['git_hash']}{left}")


def _result(step: Step, progress: Progress) -> dict[str, Json]:
    """What the results of both ends have in common."""
    return {
        "deploy_session": f"deploy-session-{step.action.seq}",
        "previous_git_hash": progress["previous_git_hash"],
        "application": progress["application"],
    }


def _overtaken(step: Step, progress: Progress) -> Done:
    name, wanted, ref, tip = (progress[each] for each in ("application", "git_ref", "of_ref", "overtaken_by"))
    result = _result(step, progress) | {
        "git_hash": wanted,
        "servers_deployed": 0,
        "overtaken_by": tip,
        "release": None,
        "services": [],
    }
    why = f"{ref} points to commit {tip} by now" if tip else f"there is no {ref} any more"
    return Done(result, f"commit {wanted} was overtaken and is not deployed: {why}; {name} is left as it is")


def _stands(progress: Progress) -> Json:
    """How far it is; how a unit that is awaited looks meanwhile does not count."""
    units = [each["state"] for each in (*progress["services"], *progress.get("back", ()))]
    return progress["phase"], progress["command"], units


def _pause(before: Progress, progress: Progress) -> float:
    if progress["killed"]:
        return KILLED_PAUSE
    if _stands(before) != _stands(progress):
        return 0.0
    # A job is waited for in the step itself.
    return ASK_EVERY if progress["phase"] in ("restart", "rollback") else 0.0


def _refused(message: str) -> Failed:
    return Failed({"message": message}, message)


def _failed(progress: Progress) -> Failed:
    payload = {
        "message": progress["error"],
        "phase": progress["failed_in"],
        "git_hash": progress["git_hash"],
        "previous_git_hash": progress["previous_git_hash"],
    }
    return Failed(payload, progress["error"])
