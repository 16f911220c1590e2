"""`database_create` and `database_delete`."""

from typing import Any

from marshmallow import fields, validate

from agent.config import Settings
from agent.datastores.base import Datastore
from agent.kinds.arguments import Flag
from agent.kinds.base import Args, Done, Outcome, Running, Step, failed
from agent.kinds.on_datastore import NAME_LENGTH, OnDatastore
from agent.models import Json

CREATING = {"phase": "creating"}
DELETING = {"phase": "deleting"}


class CreateArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "Any name the server allows."}
    )
    owner = fields.String(validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The user who owns it."})
    encoding = fields.String(validate=validate.Length(1, 64), metadata={"description": "How its texts are encoded."})
    charset = fields.String(validate=validate.Length(1, 64), metadata={"description": "How its texts are encoded."})
    collation = fields.String(validate=validate.Length(1, 64), metadata={"description": "How its texts are ordered."})
    template = fields.String(
        validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The database that it is a copy of."}
    )


class DeleteArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The database to delete."}
    )
    force = Flag(load_default=False, metadata={"description": "End its connections first."})


class DatabaseResult(Args):
    """What is left when a database was created or deleted."""

    database = fields.String(required=True, metadata={"description": "Its name."})
    server = fields.Dict(required=True, metadata={"description": "What the server says of it; depends on the server."})


class OnDatabase(OnDatastore):
    """A kind that acts on one database."""

    resource_type = "Database"
    result = DatabaseResult

    @classmethod
    def not_offered_by(cls, datastore: Datastore) -> str | None:
        return datastore.no_databases if datastore.database_options is None else None

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["name"]


class CreateDatabase(OnDatabase):
    """Create a database. Fails where one of that name exists already."""

    name = "database_create"
    args = CreateArgs

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.schema = CreateArgs(only=("name", *(self.datastore.database_options or ())))

    def act(self, step: Step) -> Outcome:
        name = step.args["name"]
        if step.payload == CREATING:
            return self._create(step.args)
        if self.datastore.database_exists(name):
            return failed(f"the database {name} exists already")
        return Running(CREATING)

    def act_again(self, step: Step) -> Outcome:
        """What exists now did not when this action looked: it is ours."""
        name = step.args["name"]
        if step.payload == CREATING and self.datastore.database_exists(name):
            return Done(_result(name, {}), f"the database {name} was created before the interruption")
        return self.act(step)

    def _create(self, args: dict[str, str]) -> Outcome:
        name = args["name"]
        options = {option: value for option, value in args.items() if option != "name"}
        return Done(_result(name, self.datastore.create_database(name, options)), f"the database {name} is created")


class DeleteDatabase(OnDatabase):
    """Delete a database and all its data. Refuses the server's own databases."""

    name = "database_delete"
    args = DeleteArgs

    def act(self, step: Step) -> Outcome:
        name = step.args["name"]
        if step.payload == DELETING:
            return self._delete(name, step.args["force"])
        if self.datastore.is_system_database(name):
            return failed(f"{name} belongs to the server and is not deleted")
        if not self.datastore.database_exists(name):
            return failed(f"there is no database {name}")
        return Running(DELETING)

    def act_again(self, step: Step) -> Outcome:
        """What is gone now existed when this action looked: it was deleted."""
        name = step.args["name"]
        if step.payload == DELETING and not self.datastore.database_exists(name):
            return Done(_result(name, {}), f"the database {name} was deleted before the interruption")
        return self.act(step)

    def _delete(self, name: str, force: bool) -> Outcome:
        return Done(_result(name, self.datastore.delete_database(name, force=force)), f"the database {name} is deleted")


def _result(name: str, server: Json) -> Json:
    return {"database": name, "server": server}
