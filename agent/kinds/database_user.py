"""`database_user_create` and `database_user_delete`."""

from typing import Any

from marshmallow import fields, validate

from agent.kinds.arguments import MOST_NAMES, Listed
from agent.kinds.base import Args, Done, Outcome, Running, Step, failed
from agent.kinds.on_datastore import NAME_LENGTH, OnDatastore
from agent.models import Json

# No text: it would tell of a password that is a part of it.
CREATING = {"creating": True}
DELETING = {"phase": "deleting"}


class CreateArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The user's name."}
    )
    password = fields.String(
        required=True,
        validate=validate.Length(1, 1024),
        metadata={"secret": True, "description": "Its password; never shown again."},
    )
    databases = Listed(
        fields.String(validate=validate.Length(1, NAME_LENGTH)),
        validate=validate.Length(max=MOST_NAMES),
        load_default=list,
        metadata={"description": "The databases it may use."},
    )
    privileges = fields.String(
        load_default="readwrite",
        validate=validate.OneOf(("readonly", "readwrite", "owner")),
        metadata={"description": "What it may do there."},
    )


class DeleteArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The user to delete."}
    )


class UserResult(Args):
    """What is left when a user was created or deleted."""

    user = fields.String(required=True, metadata={"description": "Its name."})
    server = fields.Dict(required=True, metadata={"description": "What the server says of it; depends on the server."})


class OnUser(OnDatastore):
    """A kind that acts on one user of the datastore."""

    resource_type = "DatabaseUser"
    result = UserResult
    needs = "create_user"

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["name"]


class CreateUser(OnUser):
    """Create a user of the datastore who may use some databases and no more. Fails where it exists already."""

    name = "database_user_create"
    args = CreateArgs

    def act(self, step: Step) -> Outcome:
        name = step.args["name"]
        if step.payload:
            return self._create(step.args)
        if self.datastore.user_exists(name):
            return failed(f"the user {name} exists already")
        return Running(CREATING)

    def act_again(self, step: Step) -> Outcome:
        """A user is created whole or not at all; what exists now did not when this action looked."""
        name = step.args["name"]
        if step.payload and self.datastore.user_exists(name):
            self.datastore.keep_users()
            return Done(_result(name, {}), f"the user {name} was created before the interruption")
        return self.act(step)

    def _create(self, args: dict[str, Any]) -> Outcome:
        created = self.datastore.create_user(args["name"], args["password"], args["databases"], args["privileges"])
        return Done(_result(args["name"], created), f"the user {args['name']} is created")


class DeleteUser(OnUser):
    """Delete a user of the datastore. Refused where that would leave something half done."""

    name = "database_user_delete"
    args = DeleteArgs

    def act(self, step: Step) -> Outcome:
        name = step.args["name"]
        if step.payload == DELETING:
            return Done(_result(name, self.datastore.delete_user(name)), f"the user {name} is deleted")
        if not self.datastore.user_exists(name):
            return failed(f"there is no user {name}")
        return Running(DELETING)

    def act_again(self, step: Step) -> Outcome:
        """Whom this action saw and who is gone now was deleted."""
        name = step.args["name"]
        if step.payload == DELETING and not self.datastore.user_exists(name):
            self.datastore.keep_users()
            return Done(_result(name, {}), f"the user {name} was deleted before the interruption")
        return self.act(step)


def _result(name: str, server: Json) -> Json:
    return {"user": name, "server": server}
