"""`database_user_create`, `database_user_update` and `database_user_delete`."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from agent.datastores.base import UserChanges
from agent.kinds.base import Args, Done, Step, StepResult
from agent.kinds.base.arguments import MOST_NAMES, Flag, Listed
from agent.kinds.base.on_datastore import NAME_LENGTH, OnDatastore
from agent.models import Json
from agent.plan import Danger, Plan

SHORTEST_PASSWORD = 8
PRIVILEGES = ("readonly", "readwrite", "owner")


def _name(about: str) -> fields.String:
    return fields.String(required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": about})


def _password(about: str, **more: Any) -> fields.String:
    length = validate.Length(SHORTEST_PASSWORD, 1024)
    return fields.String(validate=length, metadata={"secret": True, "description": about}, **more)


def _databases(about: str, **more: Any) -> Listed:
    return Listed(
        fields.String(validate=validate.Length(1, NAME_LENGTH)),
        validate=validate.Length(max=MOST_NAMES),
        metadata={"description": about},
        **more,
    )


class UserCreateArgs(Args):
    name = _name("The user's name.")
    password = _password("The password, at least 8 characters; never shown again.", required=True)
    databases = _databases("The databases that the user may use.", load_default=list)
    privileges = fields.String(
        load_default="readwrite",
        validate=validate.OneOf(PRIVILEGES),
        metadata={"description": "The user's privileges in these databases."},
    )


class UserUpdateArgs(Args):
    name = _name("The user to change.")
    password = _password("The new password, at least 8 characters; never shown again.")
    keep_old_password = Flag(
        load_default=False,
        metadata={"description": "Keep the present password valid until the next change without this argument."},
    )
    databases = _databases("The complete new list of databases that the user may use.")
    privileges = fields.String(
        validate=validate.OneOf(PRIVILEGES), metadata={"description": "The user's privileges in these databases."}
    )
    locked = Flag(metadata={"description": "Whether logins of the user are refused."})

    @validates_schema
    def something_changes(self, data: dict[str, Any], **_: Any) -> None:
        if not data.keys() - {"name", "keep_old_password"}:
            raise ValidationError("Name at least one change: password, databases, privileges or locked.", "name")
        if data.get("keep_old_password") and "password" not in data:
            raise ValidationError("Needs a new password.", "keep_old_password")


class UserDeleteArgs(Args):
    name = _name("The user to delete.")
    reassign_to = fields.String(
        load_default=None,
        validate=validate.Length(1, NAME_LENGTH),
        metadata={"description": "The new owner of the user's objects, on servers that have owners."},
    )


class UserResult(Args):
    """The user after the action."""

    user = fields.String(required=True, metadata={"description": "The user's name."})
    server = fields.Dict(required=True, metadata={"description": "Details; they depend on the server."})


class OnUser(OnDatastore):
    """A kind that acts on one user of the datastore."""

    resource_type = "DatabaseUser"
    result = UserResult
    needs = "create_user"

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["name"]

    def unchanged(self, plan: Plan) -> StepResult:
        return Done({"user": plan.facts["user"], "server": {}}, plan.summary)


class CreateUser(OnUser):
    """Create a user of the datastore with access to the named databases only. Fails if the name is taken."""

    name = "database_user_create"
    args = UserCreateArgs

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_create_user(args["name"], args["databases"], args["privileges"])

    def act(self, step: Step) -> StepResult:
        args = step.args
        created = self.datastore.create_user(args["name"], args["password"], args["databases"], args["privileges"])
        return Done(_result(args["name"], created), f"the user {args['name']} is created")

    def act_again(self, step: Step) -> StepResult:
        """Creation is atomic and the plan found no user of this name: if it exists now, this action created it."""
        name = step.args["name"]
        if self.datastore.user_exists(name):
            self.datastore.keep_users()
            return Done(_result(name, {}), f"the user {name} was created before the interruption")
        return self.act(step)


class UpdateUser(OnUser):
    """Change a user of the datastore: password, databases, privileges, or whether logins are refused."""

    name = "database_user_update"
    args = UserUpdateArgs
    needs = "update_user"
    danger = Danger.DISRUPTS

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_update_user(args["name"], _changes(args))

    def act(self, step: Step) -> StepResult:
        name = step.args["name"]
        return Done(_result(name, self.datastore.update_user(name, _changes(step.args))), f"the user {name} is changed")

    act_again = act


class DeleteUser(OnUser):
    """Delete a user of the datastore. Refused if the deletion would be incomplete."""

    name = "database_user_delete"
    args = UserDeleteArgs
    danger = Danger.DISRUPTS

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_delete_user(args["name"], args["reassign_to"])

    def act(self, step: Step) -> StepResult:
        name = step.args["name"]
        deleted = self.datastore.delete_user(name, step.args["reassign_to"])
        return Done(_result(name, deleted), f"the user {name} is deleted")

    def act_again(self, step: Step) -> StepResult:
        """The plan found the user: if it is gone now, this action deleted it."""
        name = step.args["name"]
        if not self.datastore.user_exists(name):
            self.datastore.keep_users()
            return Done(_result(name, {}), f"the user {name} was deleted before the interruption")
        return self.act(step)


def _changes(args: dict[str, Any]) -> UserChanges:
    return UserChanges(**{name: value for name, value in args.items() if name != "name"})


def _result(name: str, server: Json) -> Json:
    return {"user": name, "server": server}
