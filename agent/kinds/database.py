"""`database_create`, `database_update` and `database_delete`."""

from typing import Any

from marshmallow import fields, validate

from agent.config import Settings
from agent.datastores.base import Datastore
from agent.kinds.base import Args, Done, Step, StepResult
from agent.kinds.base.arguments import Flag
from agent.kinds.base.on_datastore import NAME_LENGTH, OnDatastore
from agent.models import Json
from agent.plan import Danger, Plan


class DatabaseCreateArgs(Args):
    name = fields.String(
        required=True,
        validate=validate.Length(1, NAME_LENGTH),
        metadata={"description": "Any name that the server permits."},
    )
    owner = fields.String(validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The user who owns it."})
    encoding = fields.String(validate=validate.Length(1, 64), metadata={"description": "The character encoding."})
    charset = fields.String(validate=validate.Length(1, 64), metadata={"description": "The character encoding."})
    collation = fields.String(validate=validate.Length(1, 64), metadata={"description": "The collation (sort order)."})
    template = fields.String(
        validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The database to copy (template)."}
    )


class DatabaseDeleteArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The database to delete."}
    )
    force = Flag(load_default=False, metadata={"description": "End its connections first."})


class DatabaseUpdateArgs(Args):
    name = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The database to change."}
    )
    owner = fields.String(
        required=True, validate=validate.Length(1, NAME_LENGTH), metadata={"description": "The new owner."}
    )


class DatabaseResult(Args):
    """The database after the action."""

    database = fields.String(required=True, metadata={"description": "Its name."})
    server = fields.Dict(required=True, metadata={"description": "Details; they depend on the server."})


class OnDatabase(OnDatastore):
    """A kind that acts on one database."""

    resource_type = "Database"
    result = DatabaseResult

    @classmethod
    def not_offered_by(cls, datastore: Datastore) -> str | None:
        if datastore.database_options is None:
            return datastore.no_databases
        return super().not_offered_by(datastore)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["name"]

    def unchanged(self, plan: Plan) -> StepResult:
        return Done({"database": plan.facts["database"], "server": {}}, plan.summary)


class CreateDatabase(OnDatabase):
    """Create a database. Fails if a database of that name exists already."""

    name = "database_create"
    args = DatabaseCreateArgs

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.schema = DatabaseCreateArgs(only=("name", *(self.datastore.database_options or ())))

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_create_database(args["name"], _options(args))

    def act(self, step: Step) -> StepResult:
        name = step.args["name"]
        created = self.datastore.create_database(name, _options(step.args))
        return Done(_result(name, created), f"the database {name} is created")

    def act_again(self, step: Step) -> StepResult:
        """The plan found no database of this name: if it exists now, this action created it."""
        name = step.args["name"]
        if self.datastore.database_exists(name):
            return Done(_result(name, {}), f"the database {name} was created before the interruption")
        return self.act(step)


class UpdateDatabase(OnDatabase):
    """Change the owner of a database."""

    name = "database_update"
    args = DatabaseUpdateArgs
    needs = "update_database"

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_update_database(args["name"], args["owner"])

    def act(self, step: Step) -> StepResult:
        name, owner = step.args["name"], step.args["owner"]
        return Done(
            _result(name, self.datastore.update_database(name, owner)), f"the database {name} belongs to {owner}"
        )

    def act_again(self, step: Step) -> StepResult:
        return self.begin(step)


class DeleteDatabase(OnDatabase):
    """Delete a database and all its data. Refuses the server's own databases."""

    name = "database_delete"
    args = DatabaseDeleteArgs
    danger = Danger.DESTROYS

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_delete_database(args["name"], force=args["force"])

    def act(self, step: Step) -> StepResult:
        name = step.args["name"]
        deleted = self.datastore.delete_database(name, force=step.args["force"])
        return Done(_result(name, deleted), f"the database {name} is deleted")

    def act_again(self, step: Step) -> StepResult:
        """The plan found the database: if it is gone now, this action deleted it."""
        name = step.args["name"]
        if not self.datastore.database_exists(name):
            return Done(_result(name, {}), f"the database {name} was deleted before the interruption")
        return self.act(step)


def _options(args: dict[str, str]) -> dict[str, str]:
    return {option: value for option, value in args.items() if option != "name"}


def _result(name: str, server: Json) -> Json:
    return {"database": name, "server": server}
