"""Users of PostgreSQL: roles that can log in, and what they may do in each database.

What a role may do stands in every database apart, and no transaction spans two of them. So a role is
made without a login and with a comment that says so; it becomes a user in the last transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql_connection import Connection, Target, all_of, changing, one
from agent.datastores.postgresql_databases import check_name
from agent.models import Json

HALF_MADE = "is being created by the agent and not whole yet"

ON_SCHEMAS = {"readonly": "USAGE", "readwrite": "USAGE", "owner": "USAGE, CREATE"}
ON_TABLES = {"readonly": "SELECT", "readwrite": "SELECT, INSERT, UPDATE, DELETE"}
ON_SEQUENCES = {"readonly": "SELECT", "readwrite": "SELECT, USAGE, UPDATE"}
ON_TABLES["owner"], ON_SEQUENCES["owner"] = ON_TABLES["readwrite"], ON_SEQUENCES["readwrite"]

ROLE = "SELECT oid, shobj_description(oid, 'pg_authid') = %s FROM pg_roles WHERE rolname::text = %s"
SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
# Not the system's own roles, and the initial superuser only where the agent can speak for it.
OWNERS = r"""
    SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
    UNION SELECT pg_get_userbyid(owner) FROM (
        SELECT oid, nspowner FROM pg_namespace UNION ALL SELECT relnamespace, relowner FROM pg_class
    ) AS owned (schema, owner) JOIN pg_namespace ON pg_namespace.oid = schema
    WHERE (owner >= 16384 OR owner = 10 AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
      AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
DATABASE_OWNER = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
# The defaults that others have for what the owner of this database creates.
DEFAULTS = """
    SELECT pg_get_userbyid(given.grantee), defaclobjtype::text, string_agg(given.privilege_type, ', ')
    FROM pg_default_acl, aclexplode(defaclacl) AS given
    WHERE defaclrole = (SELECT datdba FROM pg_database WHERE datname = current_database())
      AND defaclnamespace = 0 AND given.grantee NOT IN (0, defaclrole) AND defaclobjtype IN ('r', 'S', 'n')
    GROUP BY 1, 2
"""
OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "n": "SCHEMAS"}
# The databases where a role owns something or may do something, and whether they can be entered.
DEPENDENT = """
    SELECT DISTINCT datname, datallowconn AND datconnlimit <> -2
    FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s ORDER BY 1
"""
OWNED = """
    SELECT 'database ' || datname FROM pg_database WHERE datdba = %(oid)s
    UNION SELECT 'tablespace ' || spcname FROM pg_tablespace WHERE spcowner = %(oid)s ORDER BY 1
"""
CONNECTABLE = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND has_database_privilege(%s::name, oid, 'CONNECT') AND datname::text <> ALL (%s) ORDER BY 1
"""


def exists(server: Target, name: str) -> bool:
    """Whether there is a whole one, once what is under way has ended."""
    with server.connect() as connection, changing(connection):
        return _oid(connection, name) is not None


def create(server: Target, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
    """Create one who may do that in those databases; whole or not at all."""
    with server.connect() as connection, changing(connection):
        _check_new(connection, name, databases)
        secret = _hashed(connection, name, password)
        _remove_half_made(server, connection, name)
        try:
            _make(connection, name)
            for database in databases:
                with server.connect(database) as inside, inside.transaction():
                    _allow(inside, name, privileges)
            _finish(connection, name, secret, databases, privileges)
        except (psycopg.Error, DatastoreError):
            with suppress(psycopg.Error, DatastoreError):  # what is left cannot log in and goes with the next attempt
                _remove_half_made(server, connection, name)
            raise
        # Every role may connect to a database unless that was taken from PUBLIC: said rather than changed.
        others = all_of(connection, CONNECTABLE, name, list(databases))
    return {"databases": list(databases), "privileges": privileges, "public_lets_connect_to": others}


def delete(server: Target, name: str) -> Json:
    """Delete one and end its sessions; what it owns goes to the owner of each database.

    It is tried in every database first, and refused where that fails. A crash between two databases
    leaves a user who cannot log in; then delete it again.
    """
    with server.connect() as connection, changing(connection):
        oid = _oid(connection, name)
        if oid is None:
            raise DatastoreRefused(f"there is no user {name}")
        if owned := all_of_named(connection, OWNED, oid=oid):
            raise DatastoreRefused(f"{name} owns {', '.join(owned)}: delete that or give it to another owner first")
        databases = _dependent(connection, name, oid)
        for database in databases:
            with server.connect(database) as inside, inside.transaction(force_rollback=True):
                _take_all_from(inside, name)
        could_log_in = _lock_out(connection, name, oid)
        try:
            _delete(server, connection, name, databases)
        except (psycopg.Error, DatastoreError):
            with suppress(psycopg.Error):
                connection.execute(_sql("ALTER ROLE {} LOGIN" if could_log_in else "ALTER ROLE {} NOLOGIN", name))
            raise
    return {"reassigned_in": databases}


def _oid(connection: Connection, name: str, *, half_made: bool = False) -> int | None:
    row = connection.execute(ROLE, (HALF_MADE, name)).fetchone()
    return int(row[0]) if row is not None and bool(row[1]) is half_made else None


def all_of_named(connection: Connection, statement: str, **values: object) -> list[Any]:
    """The one column of all rows, for values that occur more than once."""
    return [row[0] for row in connection.execute(statement, values)]


def _dependent(connection: Connection, name: str, oid: int) -> list[str]:
    databases = connection.execute(DEPENDENT, (oid,)).fetchall()
    if closed := [database for database, open_ in databases if not open_]:
        what = f"what {name} has there can be neither given away nor taken"
        raise DatastoreRefused(f"the database {', '.join(closed)} lets nobody in: {what}")
    return [database for database, _ in databases]


def _check_new(connection: Connection, name: str, databases: Sequence[str]) -> None:
    check_name(connection, name)
    if _oid(connection, name) is not None:
        raise DatastoreRefused(f"the user {name} exists already")
    there = all_of(connection, "SELECT datname FROM pg_database WHERE datname::text = ANY (%s)", list(databases))
    if missing := [database for database in databases if database not in there]:
        raise DatastoreRefused(f"there is no database {', '.join(missing)}")


def _hashed(connection: Connection, name: str, password: str) -> str:
    """The password as the server keeps it, so that it never comes to see, or log, the password itself."""
    if "\0" in password:
        raise DatastoreRefused("the password contains a NUL, which PostgreSQL does not allow")
    return connection.pgconn.encrypt_password(password.encode(), name.encode()).decode()


def _make(connection: Connection, name: str) -> None:
    """The role alone: it cannot log in, and its comment says that it is not whole."""
    with connection.transaction():
        connection.execute(_sql("CREATE ROLE {} NOLOGIN", name))
        connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(HALF_MADE)))
        _join(connection, name)


def _join(connection: Connection, name: str) -> None:
    """Without being a superuser the agent acts for a role only as its member."""
    if not one(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        connection.execute(_sql("GRANT {} TO CURRENT_USER", name))


def _allow(connection: Connection, name: str, privileges: str) -> None:
    """What it may do in this database, with what is there and with what its owners create later."""
    user = sql.Identifier(name)
    if schemas := [sql.Identifier(schema) for schema in all_of(connection, SCHEMAS)]:
        every = sql.SQL(", ").join(schemas)
        _grant(connection, ON_SCHEMAS[privileges], "SCHEMA", every, user)
        _grant(connection, ON_TABLES[privileges], "ALL TABLES IN SCHEMA", every, user)
        _grant(connection, ON_SEQUENCES[privileges], "ALL SEQUENCES IN SCHEMA", every, user)
    for owner in all_of(connection, OWNERS):
        _by_default(connection, owner, name, "TABLES", ON_TABLES[privileges])
        _by_default(connection, owner, name, "SEQUENCES", ON_SEQUENCES[privileges])
        _by_default(connection, owner, name, "SCHEMAS", "USAGE")
    if privileges == "owner":
        for grantee, kind, given in connection.execute(DEFAULTS).fetchall():
            if grantee != name:
                _by_default(connection, name, grantee, OBJECTS[kind], given)


def _grant(connection: Connection, what: str, on: str, objects: sql.Composable, user: sql.Identifier) -> None:
    connection.execute(sql.SQL(f"GRANT {what} ON {on} {{}} TO {{}}").format(objects, user))


def _by_default(connection: Connection, owner: str, name: str, objects: str, what: str) -> None:
    if owner != name:
        statement = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} GRANT {what} ON {objects} TO {{}}"
        connection.execute(_sql(statement, owner, name))


def _finish(connection: Connection, name: str, secret: str, databases: Sequence[str], privileges: str) -> None:
    with connection.transaction():
        for database in databases:
            connection.execute(_sql("GRANT CONNECT ON DATABASE {} TO {}", database, name))
            if privileges == "owner":
                _give(connection, database, name)
        connection.execute(_sql("COMMENT ON ROLE {} IS NULL", name))
        password = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(secret))
        connection.execute(password)


def _give(connection: Connection, database: str, name: str) -> None:
    """The database itself, unless that would take it from somebody."""
    theirs = """
        SELECT rolname FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba
        WHERE datname::text = %s AND NOT rolsuper AND rolname <> current_user
    """
    if owners := all_of(connection, theirs, database):
        raise DatastoreRefused(f"the database {database} belongs to {owners[0]} already")
    connection.execute(_sql("ALTER DATABASE {} OWNER TO {}", database, name))


def _remove_half_made(server: Target, connection: Connection, name: str) -> None:
    oid = _oid(connection, name, half_made=True)
    if oid is None:
        return
    for database in _dependent(connection, name, oid):
        with server.connect(database) as inside:
            inside.execute(_sql("DROP OWNED BY {}", name))
    connection.execute(_sql("DROP ROLE {}", name))


def _take_all_from(connection: Connection, name: str) -> None:
    """What it owns in this database goes to the owner of the database, what it may do here ends."""
    _join(connection, name)
    connection.execute(_sql("REASSIGN OWNED BY {} TO {}", name, one(connection, DATABASE_OWNER)))
    connection.execute(_sql("DROP OWNED BY {}", name))


def _lock_out(connection: Connection, name: str, oid: int) -> bool:
    """Let it create nothing more; whether it could log in."""
    could: bool = one(connection, "SELECT rolcanlogin FROM pg_roles WHERE oid = %s", oid)
    connection.execute(_sql("ALTER ROLE {} NOLOGIN", name))
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = %s", (oid,))
    return could


def _delete(server: Target, connection: Connection, name: str, databases: Sequence[str]) -> None:
    for database in databases:
        with server.connect(database) as inside, inside.transaction():
            _take_all_from(inside, name)
    with connection.transaction():
        _join(connection, name)
        connection.execute(_sql("DROP OWNED BY {}", name))  # what it may do to databases as a whole
        connection.execute(_sql("DROP ROLE {}", name))


def _sql(statement: str, *names: str) -> sql.Composed:
    return sql.SQL(statement).format(*map(sql.Identifier, names))
