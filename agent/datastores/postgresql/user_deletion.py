"""Delete a user of PostgreSQL and reassign the user's objects."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import psycopg

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql import readiness
from agent.datastores.postgresql.connection import Connection, Target, all_of, changing, one
from agent.datastores.postgresql.databases import NOT_TO_OWN
from agent.datastores.postgresql.outcome import settled
from agent.datastores.postgresql.ownership import hand_over_defaults, join, named
from agent.datastores.postgresql.users import (
    ROLE_EXISTS,
    SESSIONS,
    confirmed,
    dependent_databases,
    exists,
    lock_out,
    oid_of,
)
from agent.models import Json
from agent.plan import Plan, Would, refuse

DATABASE_OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
OWNED_DATABASES = "SELECT datname FROM pg_database WHERE datdba = %s ORDER BY 1"
OWNED_TABLESPACES = "SELECT spcname FROM pg_tablespace WHERE spcowner = %s ORDER BY 1"


def plan_delete(server: Target, name: str, reassign_to: str | None) -> Plan:
    """What `delete` would do now."""
    with server.connect() as connection:
        return _deletion(connection, name, reassign_to)


def delete(server: Target, name: str, reassign_to: str | None = None) -> Json:
    """Delete a user and end its sessions. Its objects go to `reassign_to`, or to the owner of each database.

    The change runs in a transaction in every database first and is refused if one fails. A crash between two
    commits leaves a user that cannot log in; delete it again then.
    """
    return settled(lambda: _delete(server, name, reassign_to), lambda: None if exists(server, name) else {})


def _deletion(connection: Connection, name: str, reassign_to: str | None) -> Plan:
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal
    oid = oid_of(connection, name)
    if oid is None:
        return refuse(f"there is no user {name}", "check the name")
    if reassign_to is not None and (reassign_to == name or not one(connection, ROLE_EXISTS, reassign_to)):
        return refuse(
            f"{reassign_to} cannot own the objects of {name}: no other role has this name", "check reassign_to"
        )
    databases = all_of(connection, OWNED_DATABASES, oid)
    if servers_own := [each for each in databases if each in NOT_TO_OWN]:
        reason = f"{name} owns database {', '.join(servers_own)}, which belongs to the server"
        return refuse(reason, "change its owner to the server's superuser first")
    owned = [f"database {each}" for each in databases]
    owned += [f"tablespace {each}" for each in all_of(connection, OWNED_TABLESPACES, oid)]
    if owned and reassign_to is None:
        reason = f"{name} owns {', '.join(owned)}: delete these or change their owner first"
        return refuse(reason, "name the next owner with reassign_to")
    try:
        inside = dependent_databases(connection, name, oid)
    except DatastoreRefused as error:
        return refuse(str(error), "open the database, or remove it")
    sessions = one(connection, SESSIONS, oid)
    to = reassign_to or "the owner of each database"
    steps = [*([f"end {sessions} session(s) of {name}"] if sessions else []), f"reassign its objects to {to}"]
    return Plan(
        Would.DISRUPT if sessions else Would.CHANGE,
        f"the user {name} would be deleted",
        steps=[*steps, f"delete the role {name}"],
        facts={"writable": True, "connections": sessions, "owns": owned, "databases": inside, "reassign_to": to},
    )


def _delete(server: Target, name: str, reassign_to: str | None) -> Json:
    with server.connect() as connection, changing(connection):
        plan = readiness.require(_deletion(connection, name, reassign_to))
        oid = oid_of(connection, name)
        assert oid is not None
        databases: list[str] = plan.facts["databases"]
        for database in databases:
            with server.connect(database) as inside, inside.transaction(force_rollback=True):
                _drop_all_of(inside, name, reassign_to)
        could_log_in = lock_out(connection, name, oid)
        try:
            confirmed(connection)
            _remove(server, connection, name, databases, reassign_to)
        except (psycopg.Error, DatastoreError):
            with suppress(psycopg.Error, DatastoreError), server.connect(locally=True) as other:
                other.execute(named("ALTER ROLE {} LOGIN" if could_log_in else "ALTER ROLE {} NOLOGIN", name))
            raise
        done = {"reassigned_in": databases, "reassigned_to": reassign_to, "owned": plan.facts["owns"]}
        return done | readiness.unconfirmed(connection)


def _drop_all_of(connection: Connection, name: str, reassign_to: str | None) -> None:
    """Reassign the user's objects in this database and drop its privileges."""
    join(connection, name)
    owner = one(connection, DATABASE_OWNER)
    if reassign_to is not None:
        join(connection, reassign_to)
        if owner == name:
            hand_over_defaults(connection, reassign_to)
    # The first REASSIGN also transfers databases and tablespaces.
    connection.execute(named("REASSIGN OWNED BY {} TO {}", name, reassign_to or owner))
    connection.execute(named("DROP OWNED BY {}", name))


def _remove(
    server: Target, connection: Connection, name: str, databases: Sequence[str], reassign_to: str | None
) -> None:
    for database in databases:
        with server.connect(database) as inside:
            with inside.transaction():
                _drop_all_of(inside, name, reassign_to)
            confirmed(inside)
    with connection.transaction():
        join(connection, name)
        if reassign_to is not None:
            join(connection, reassign_to)
            connection.execute(named("REASSIGN OWNED BY {} TO {}", name, reassign_to))  # databases that it only owns
        connection.execute(named("DROP OWNED BY {}", name))  # privileges on databases
        connection.execute(named("DROP ROLE {}", name))
