"""Grant, revoke and read the privileges of a role in one PostgreSQL database."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql.connection import Connection, all_of, one
from agent.datastores.postgresql.ownership import DEFAULTS, OBJECTS, by_default

ON_SCHEMAS = {"readonly": "USAGE", "readwrite": "USAGE", "owner": "USAGE, CREATE"}
ON_TABLES = {"readonly": "SELECT", "readwrite": "SELECT, INSERT, UPDATE, DELETE"}
ON_SEQUENCES = {"readonly": "SELECT", "readwrite": "SELECT, USAGE, UPDATE"}
ON_TABLES["owner"], ON_SEQUENCES["owner"] = ON_TABLES["readwrite"], ON_SEQUENCES["readwrite"]
AT_ONCE = 200
"""Maximum number of objects in one statement."""

SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
# Without system roles; the initial superuser only if the agent can act as it.
OWNERS = r"""
    SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
    UNION SELECT pg_get_userbyid(owner) FROM (
        SELECT oid, nspowner FROM pg_namespace UNION ALL SELECT relnamespace, relowner FROM pg_class
    ) AS owned (schema, owner) JOIN pg_namespace ON pg_namespace.oid = schema
    WHERE (owner >= 16384 OR owner = 10 AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
      AND nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
# Privileges of a role on objects of other owners, with the object type as in GRANT and REVOKE.
GIVEN = """
    SELECT DISTINCT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, relname
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace, aclexplode(relacl) AS given
    WHERE given.grantee = %(oid)s AND relowner <> %(oid)s
    UNION ALL
    SELECT DISTINCT 'SCHEMA', NULL, nspname FROM pg_namespace, aclexplode(nspacl) AS given
    WHERE given.grantee = %(oid)s AND nspowner <> %(oid)s
"""
GIVEN_BY_DEFAULT = """
    SELECT DISTINCT pg_get_userbyid(defaclrole), defaclobjtype::text, nspname
    FROM pg_default_acl LEFT JOIN pg_namespace ON pg_namespace.oid = defaclnamespace, aclexplode(defaclacl) AS given
    WHERE given.grantee = %(oid)s AND defaclrole <> %(oid)s AND defaclobjtype IN ('r', 'S', 'n')
"""
LEVEL = """
    SELECT bool_or(privilege_type = 'INSERT') FROM (
        SELECT given.* FROM pg_default_acl, aclexplode(defaclacl) AS given WHERE defaclobjtype = 'r'
        UNION ALL SELECT given.* FROM pg_class, aclexplode(relacl) AS given WHERE relowner <> %(oid)s
    ) AS every WHERE grantee = %(oid)s
"""
OWNS = "SELECT datdba = %s FROM pg_database WHERE datname = current_database()"
OWNED_OBJECTS = """
    SELECT count(*) FROM pg_shdepend JOIN pg_database ON pg_database.oid = dbid
    WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND refobjid = %s AND deptype = 'o'
"""


def grant(connection: Connection, name: str, privileges: str) -> None:
    """Grant privileges on all existing objects, and on objects that the owners create later."""
    user = sql.Identifier(name)
    if schemas := [sql.Identifier(schema) for schema in all_of(connection, SCHEMAS)]:
        every = sql.SQL(", ").join(schemas)
        _grant_on(connection, ON_SCHEMAS[privileges], "SCHEMA", every, user)
        _grant_on(connection, ON_TABLES[privileges], "ALL TABLES IN SCHEMA", every, user)
        _grant_on(connection, ON_SEQUENCES[privileges], "ALL SEQUENCES IN SCHEMA", every, user)
    for owner in all_of(connection, OWNERS):
        by_default(connection, owner, name, "TABLES", ON_TABLES[privileges])
        by_default(connection, owner, name, "SEQUENCES", ON_SEQUENCES[privileges])
        by_default(connection, owner, name, "SCHEMAS", "USAGE")
    if privileges == "owner":
        for grantee, kind, given in connection.execute(DEFAULTS).fetchall():
            if grantee != name:
                by_default(connection, name, grantee, OBJECTS[kind], given)


def revoke(connection: Connection, name: str, oid: int) -> None:
    """Revoke all privileges on objects of other owners in this database. Owned objects are not affected.

    Raises `DatastoreRefused` if a privilege remains because another role granted it.
    """
    role = sql.Identifier(name)
    for kind in ("TABLE", "SEQUENCE", "SCHEMA"):
        objects = [sql.Identifier(*filter(None, each)) for each in _given(connection, oid, kind)]
        for start in range(0, len(objects), AT_ONCE):
            every = sql.SQL(", ").join(objects[start : start + AT_ONCE])
            connection.execute(sql.SQL(f"REVOKE ALL ON {kind} {{}} FROM {{}}").format(every, role))
    for owner, kind, schema in connection.execute(GIVEN_BY_DEFAULT, {"oid": oid}).fetchall():
        within = sql.SQL("IN SCHEMA {}").format(sql.Identifier(schema)) if schema else sql.SQL("")
        statement = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} {{}} REVOKE ALL ON {OBJECTS[kind]} FROM {{}}"
        connection.execute(sql.SQL(statement).format(sql.Identifier(owner), within, role))
    if left := connection.execute(GIVEN, {"oid": oid}).fetchone():
        what = ".".join(filter(None, left[1:]))
        raise DatastoreRefused(f"the privileges of {name} on {left[0].lower()} {what} were granted by another role")


def level(connection: Connection, oid: int) -> str | None:
    """The role's level in this database: `owner`, `readwrite`, `readonly`, or None."""
    if one(connection, OWNS, oid):
        return "owner"
    row: Any = connection.execute(LEVEL, {"oid": oid}).fetchone()
    return None if row[0] is None else "readwrite" if row[0] else "readonly"


def owned_objects(connection: Connection, oid: int) -> int:
    """Number of objects in this database that the role owns."""
    return int(one(connection, OWNED_OBJECTS, oid))


def _given(connection: Connection, oid: int, kind: str) -> list[tuple[str | None, str]]:
    rows = connection.execute(GIVEN, {"oid": oid}).fetchall()
    return [(schema, name) for each, schema, name in rows if each == kind]


def _grant_on(connection: Connection, what: str, on: str, objects: sql.Composable, user: sql.Identifier) -> None:
    connection.execute(sql.SQL(f"GRANT {what} ON {on} {{}} TO {{}}").format(objects, user))
