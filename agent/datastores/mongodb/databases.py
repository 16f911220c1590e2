"""Create and delete databases of MongoDB: a database exists while it contains a collection."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from agent import plan
from agent.datastores.base import DatastoreError
from agent.datastores.mongodb import deadline
from agent.models import Json
from agent.plan import Discard, Plan, Would

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

OF_THE_SERVER = ("admin", "config", "local")
FIRST = "_created"
"""The name of the empty collection of a new database."""


def refuse_elsewhere(here: MongoDB) -> Plan | None:
    """A refusal if this server does not accept writes; None on a primary."""
    hello = here.hello()
    if hello.get("isWritablePrimary"):
        return None
    leads = f": the primary of its set is {hello['primary']}" if hello.get("primary") else ""
    return plan.refuse(f"this server is not writable{leads}", "run this action on the primary")


def exists(here: MongoDB, name: str) -> bool:
    return bool(here.command("listDatabases", nameOnly=True, filter={"name": name})["databases"])


def plan_create(here: MongoDB, name: str) -> Plan:
    if (refusal := refuse_elsewhere(here)) is not None:
        return refusal
    found = [str(each["name"]) for each in here.command("listDatabases", nameOnly=True)["databases"]]
    if name in found:
        return plan.refuse(f"the database {name} exists already", "choose another name, or delete it first")
    if (other := next((each for each in found if each.lower() == name.lower()), None)) is not None:
        reason = f"the database {other} exists: MongoDB refuses names that differ only by case"
        return plan.refuse(reason, "choose another name")
    steps = [f"create the empty collection {FIRST} in {name}"]
    return Plan(Would.CHANGE, f"the database {name} would be created", steps=steps)


def create(here: MongoDB, name: str) -> Json:
    what = f"the database {name} was created"
    deadline.change(here, lambda: exists(here, name), what, "create", FIRST, database=name)
    return {"collection": FIRST}


def plan_delete(here: MongoDB, name: str) -> Plan:
    """The plan with the amount of data; an unavailable count is None."""
    if name in OF_THE_SERVER:
        return plan.refuse(f"{name} belongs to the server and is not deleted", "name a database of an application")
    if (refusal := refuse_elsewhere(here)) is not None:
        return refusal
    if not exists(here, name):
        return plan.refuse(f"no database is called {name}", "check the name")
    size = documents = None
    with suppress(DatastoreError):
        found = here.command("dbStats", database=name)
        size, documents = int(found.get("dataSize", 0)), int(found.get("objects", 0))
    return Plan(
        Would.DESTROY,
        f"the database {name} and all its data would be deleted",
        steps=[f"delete the database {name}"],
        discards=[
            Discard(f"the database {name}", size, "bytes"),
            Discard(f"documents of {name}", documents, "documents"),
        ],
        warnings=["users are stored in admin: they stay, with their roles on this database"],
    )


def delete(here: MongoDB, name: str) -> Json:
    """`force` has no effect: connections do not belong to a database."""
    what = f"the database {name} was deleted"
    deadline.change(here, lambda: not exists(here, name), what, "dropDatabase", 1, database=name)
    return {}
