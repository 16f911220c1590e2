"""Create users of PostgreSQL: roles that can log in.

Privileges are stored in each database, and no transaction spans two databases. So the role is first created without
a login and with a comment that marks it as incomplete; the last transaction enables the login.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql import readiness
from agent.datastores.postgresql.connection import Connection, Target, all_of, changing, one
from agent.datastores.postgresql.databases import NOT_TO_OWN, check_name
from agent.datastores.postgresql.grants import grant
from agent.datastores.postgresql.outcome import settled
from agent.datastores.postgresql.ownership import hand_over, join, named
from agent.models import Json
from agent.plan import Plan, Would, refuse

INCOMPLETE = "is being created by the agent and is incomplete"

ROLE = "SELECT oid, shobj_description(oid, 'pg_authid') = %s FROM pg_roles WHERE rolname::text = %s"
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname::text = %s)"
# The databases in which a role owns objects or has privileges, and whether they accept connections.
DEPENDENT = """
    SELECT DISTINCT datname, datallowconn AND datconnlimit <> -2
    FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s ORDER BY 1
"""
CONNECTABLE = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND has_database_privilege(%s::name, oid, 'CONNECT') AND datname::text <> ALL (%s) ORDER BY 1
"""
OWNED_BY_OTHERS = """
    SELECT datname, rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba
    WHERE datname::text = ANY (%s) AND NOT rolsuper AND rolname <> current_user AND rolname::text <> %s ORDER BY 1
"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usesysid = %s"


def exists(server: Target, name: str) -> bool:
    """Whether a complete user exists; waits for a running change to end."""
    with server.connect() as connection, changing(connection):
        return oid_of(connection, name) is not None


# Create


def plan_create(server: Target, name: str, databases: Sequence[str], privileges: str) -> Plan:
    """What `create` would do now."""
    with server.connect() as connection:
        return _creation(connection, name, databases, privileges)


def create(server: Target, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
    """Create a user with these privileges in these databases; atomic."""

    def created() -> Json:
        return {"databases": list(databases), "privileges": privileges} if exists(server, name) else None

    return settled(lambda: _create(server, name, password, databases, privileges), created)


def _creation(connection: Connection, name: str, databases: Sequence[str], privileges: str) -> Plan:
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal
    try:
        check_name(connection, name)
    except DatastoreRefused as error:
        return refuse(str(error), "choose another name")
    if oid_of(connection, name) is not None:
        return refuse(f"the user {name} exists already", "choose another name, or use database_user_update")
    if (refusal := refuse_grant(connection, name, databases, privileges)) is not None:
        return refusal
    steps = [f"create the role {name}, without a login", *(f"give it {privileges} in {each}" for each in databases)]
    return Plan(
        Would.CHANGE,
        f"the user {name} would be created",
        steps=[*steps, "allow logins"],
        facts={"writable": True, "databases": list(databases), "privileges": privileges},
    )


def refuse_grant(connection: Connection, name: str, databases: Sequence[str], privileges: str) -> Plan | None:
    """The refusal to grant these privileges in these databases, or None."""
    rows: Any = connection.execute(
        "SELECT datname, datallowconn FROM pg_database WHERE datname::text = ANY (%s)", (list(databases),)
    ).fetchall()
    if missing := [database for database in databases if database not in dict(rows)]:
        return refuse(f"there is no database {', '.join(missing)}", "create it with database_create, or name another")
    if closed := [database for database, open_ in rows if not open_]:
        reason = f"the database {', '.join(closed)} is not currently accepting connections"
        return refuse(reason, "run ALTER DATABASE … ALLOW_CONNECTIONS true, or name another")
    if privileges != "owner":
        return None
    if servers_own := [database for database in databases if database in NOT_TO_OWN]:
        reason = f"the database {', '.join(servers_own)} belongs to the server; its owner is not changed"
        return refuse(reason, "name a database of an application")
    if owned := connection.execute(OWNED_BY_OTHERS, (list(databases), name)).fetchone():
        reason = f"the database {owned[0]} belongs to {owned[1]} already"
        return refuse(reason, "use database_update, or other privileges than owner")
    return None


def _create(server: Target, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
    with server.connect() as connection, changing(connection):
        readiness.require(_creation(connection, name, databases, privileges))
        secret = hashed(connection, name, password)
        _remove_incomplete(server, connection, name)
        try:
            _make(connection, name)
            confirmed(connection)
            for database in databases:
                with server.connect(database) as inside:
                    with inside.transaction():
                        grant(inside, name, privileges)
                    confirmed(inside)
            _finish(connection, name, secret, databases, privileges)
        except (psycopg.Error, DatastoreError):
            with suppress(psycopg.Error, DatastoreError):  # the rest cannot log in; the next attempt removes it
                _remove_incomplete(server, connection, name)
            raise
        # PUBLIC, and so every role, may connect to a database by default. The result reports it; it is not revoked.
        others = all_of(connection, CONNECTABLE, name, list(databases))
        done = {"databases": list(databases), "privileges": privileges, "public_lets_connect_to": others}
        return done | readiness.unconfirmed(connection)


def confirmed(connection: Connection) -> None:
    """Raises `DatastoreRefused` after an unconfirmed commit of this connection: the next ones would wait too."""
    if connection.unconfirmed:
        waited = connection.waits_for or "a synchronous standby"
        raise DatastoreRefused(f"a commit took too long (datastore.timeout): it waited for {waited}")


def _make(connection: Connection, name: str) -> None:
    """Create the role without a login and with the comment that marks it as incomplete."""
    with connection.transaction():
        connection.execute(named("CREATE ROLE {} NOLOGIN", name))
        connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(INCOMPLETE)))
        join(connection, name)


def _finish(connection: Connection, name: str, secret: str, databases: Sequence[str], privileges: str) -> None:
    with connection.transaction():
        for database in databases:
            connection.execute(named("GRANT CONNECT ON DATABASE {} TO {}", database, name))
            if privileges == "owner":
                hand_over(connection, database, name)
        connection.execute(named("COMMENT ON ROLE {} IS NULL", name))
        password = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(secret))
        connection.execute(password)


def _remove_incomplete(server: Target, connection: Connection, name: str) -> None:
    oid = oid_of(connection, name, incomplete=True)
    if oid is None:
        return
    for database in dependent_databases(connection, name, oid):
        with server.connect(database, locally=True) as inside:
            inside.execute(named("DROP OWNED BY {}", name))
    with server.connect(locally=True) as other:
        other.execute(named("DROP ROLE {}", name))


# Facts


def oid_of(connection: Connection, name: str, *, incomplete: bool = False) -> int | None:
    """The OID of a complete role, or of an incomplete one; None if there is none."""
    row = connection.execute(ROLE, (INCOMPLETE, name)).fetchone()
    return int(row[0]) if row is not None and bool(row[1]) is incomplete else None


def dependent_databases(connection: Connection, name: str, oid: int) -> list[str]:
    """The databases in which the role has objects or privileges. Raises `DatastoreRefused` if one is closed."""
    databases = connection.execute(DEPENDENT, (oid,)).fetchall()
    if closed := [database for database, open_ in databases if not open_]:
        what = f"the objects and privileges of {name} there cannot be changed"
        raise DatastoreRefused(f"the database {', '.join(closed)} accepts no connections: {what}")
    return [database for database, _ in databases]


def hashed(connection: Connection, name: str, password: str) -> str:
    """The password's hash in the server's format: the server never sees, and cannot log, the password itself."""
    if "\0" in password:
        raise DatastoreRefused("the password contains a NUL, which PostgreSQL does not allow")
    return connection.pgconn.encrypt_password(password.encode(), name.encode()).decode()


def lock_out(connection: Connection, name: str, oid: int) -> bool:
    """Disable the login and end the sessions, so that nothing more is created. Returns whether it could log in."""
    could: bool = one(connection, "SELECT rolcanlogin FROM pg_roles WHERE oid = %s", oid)
    connection.execute(named("ALTER ROLE {} NOLOGIN", name))
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s", (oid,))
    return could
