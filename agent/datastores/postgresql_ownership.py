"""Ownership in one PostgreSQL database: who owns what is created, and handing it over."""

from __future__ import annotations

from psycopg import sql

from agent.datastores.postgresql_connection import Connection, one

# The defaults that others have for what the owner of this database creates.
DEFAULTS = """
    SELECT pg_get_userbyid(given.grantee), defaclobjtype::text, string_agg(given.privilege_type, ', ')
    FROM pg_default_acl, aclexplode(defaclacl) AS given
    WHERE defaclrole = (SELECT datdba FROM pg_database WHERE datname = current_database())
      AND defaclnamespace = 0 AND given.grantee NOT IN (0, defaclrole) AND defaclobjtype IN ('r', 'S', 'n')
    GROUP BY 1, 2
"""
OBJECTS = {"r": "TABLES", "S": "SEQUENCES", "n": "SCHEMAS"}


def named(statement: str, *names: str) -> sql.Composed:
    """A statement with identifiers in its places."""
    return sql.SQL(statement).format(*map(sql.Identifier, names))


def join(connection: Connection, name: str) -> None:
    """Become a member of a role: without being a superuser the agent acts for a role only as its member."""
    if not one(connection, "SELECT pg_has_role(%s::name, 'USAGE')", name):
        connection.execute(named("GRANT {} TO CURRENT_USER", name))


def by_default(connection: Connection, owner: str, name: str, objects: str, what: str) -> None:
    """Let a role do that with what the owner creates later in this database."""
    if owner != name:
        statement = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} GRANT {what} ON {objects} TO {{}}"
        connection.execute(named(statement, owner, name))


def hand_over_defaults(connection: Connection, owner: str) -> None:
    """What the others may do with what this database's owner creates, they may with what the next owner creates."""
    given = connection.execute(DEFAULTS).fetchall()
    if given:
        join(connection, owner)
    for grantee, kind, privileges in given:
        by_default(connection, owner, grantee, OBJECTS[kind], privileges)


def hand_over(connection: Connection, database: str, owner: str) -> None:
    """Give the database itself to another role."""
    join(connection, owner)
    connection.execute(named("ALTER DATABASE {} OWNER TO {}", database, owner))
