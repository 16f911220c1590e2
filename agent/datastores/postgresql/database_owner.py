"""Change the owner of a PostgreSQL database."""

from __future__ import annotations

from agent.datastores.postgresql import readiness
from agent.datastores.postgresql.connection import Connection, Target, changing, one
from agent.datastores.postgresql.databases import FACTS, NOT_TO_OWN, ROLE_EXISTS, facts_of
from agent.datastores.postgresql.outcome import repeated
from agent.datastores.postgresql.ownership import hand_over, hand_over_defaults
from agent.models import Json
from agent.plan import Plan, Would, nothing, refuse


def plan_update(server: Target, name: str, owner: str) -> Plan:
    """What `update` would do now."""
    with server.connect() as connection:
        return _handing_over(connection, name, owner)


def update(server: Target, name: str, owner: str) -> Json:
    """Change the owner of a database. Its default privileges also apply to objects of the new owner."""
    return repeated(lambda: _update(server, name, owner))


def _handing_over(connection: Connection, name: str, owner: str) -> Plan:
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal
    row = connection.execute(FACTS, (name,)).fetchone()
    if row is None:
        return refuse(f"the database {name} does not exist", "check the name")
    if not one(connection, ROLE_EXISTS, owner):
        return refuse(f'the role "{owner}" does not exist', "create it with database_user_create, or name another")
    facts = {"writable": True, "database": name, "owner": row[0], "connections": row[5]}
    if row[0] == owner:
        return nothing(f"the database {name} belongs to {owner} already", facts=facts)
    if name in NOT_TO_OWN:
        return refuse(f"{name} belongs to the server; its owner is not changed", "name a database of an application")
    steps = [f"change the owner of the database {name} from {row[0]} to {owner}"]
    return Plan(Would.CHANGE, f"the database {name} would belong to {owner}", steps=steps, facts=facts)


def _update(server: Target, name: str, owner: str) -> Json:
    with server.connect() as connection, changing(connection):
        plan = readiness.require(_handing_over(connection, name, owner))
        if plan.would is Would.CHANGE:
            with server.connect(name) as inside, inside.transaction():
                hand_over_defaults(inside, owner)
                hand_over(inside, name, owner)
            return facts_of(connection, name) | {"previous_owner": plan.facts["owner"]} | readiness.unconfirmed(inside)
        return facts_of(connection, name)
