"""Ownership in one PostgreSQL database: membership, default privileges and the change of the owner."""

from __future__ import annotations

from psycopg import sql

from agent.datastores.postgresql.connection import Connection, one

# Default privileges of other roles on objects that the owner of this database creates.
DEFAULTS = """
    SELECT pg_get_userbyid(given.grantee), defaclobjtype::text, string_agg(given.privilege_type, ', ')
    FROM pg_default_acl, aclexplode(defaclacl) AS given
    WHERE defaclrole = (SELECT datdba FROM pg_database WHERE datname = current_database())
      AND defaclnamespace = 0 AND given.grantee NOT IN (0, defaclrole) AND defaclobjtype IN ('r', 'S', 'n')
    GROUP BY 1, 2
"""
OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "n": "SCHEMAS"}


def named(statement: str, *names: str) -> sql.Composed:
    """The statement with quoted identifiers inserted."""
    return sql.SQL(statement).format(*map(sql.Identifier, names))


def join(connection: Connection, name: str) -> None:
    """Become a member of a role: without superuser rights the agent can act as a role only as its member."""
    if not one(connection, "SELECT pg_has_role(%s::name, 'USAGE')", name):
        connection.execute(named("GRANT {} TO CURRENT_USER", name))


def by_default(connection: Connection, owner: str, name: str, objects: str, what: str) -> None:
    """Grant a role default privileges on objects that the owner creates later in this database."""
    if owner != name:
        statement = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} GRANT {what} ON {objects} TO {{}}"
        connection.execute(named(statement, owner, name))


def hand_over_defaults(connection: Connection, owner: str) -> None:
    """Copy the default privileges for objects of the present owner to objects of the next owner."""
    given = connection.execute(DEFAULTS).fetchall()
    if given:
        join(connection, owner)
    for grantee, kind, privileges in given:
        by_default(connection, owner, grantee, OBJECTS[kind], privileges)


def hand_over(connection: Connection, database: str, owner: str) -> None:
    """Change the owner of the database itself."""
    join(connection, owner)
    connection.execute(named("ALTER DATABASE {} OWNER TO {}", database, owner))
