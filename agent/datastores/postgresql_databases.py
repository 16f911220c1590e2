"""Databases of PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql_connection import Connection, Target, changing, one
from agent.models import Json

CREATED = """
    SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname::text = %s
"""


def exists(server: Target, name: str) -> bool:
    """Whether there is one, once what is under way has ended."""
    with server.connect() as connection, changing(connection):
        return bool(one(connection, "SELECT EXISTS (SELECT FROM pg_database WHERE datname::text = %s)", name))


def create(server: Target, name: str, options: Mapping[str, str]) -> Json:
    """Create one; it is there whole or not at all."""
    with server.connect() as connection, changing(connection):
        check_name(connection, name)
        clauses: list[sql.Composable] = [sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))]
        clauses += [_clause(option, value) for option, value in _with_template(connection, options).items()]
        connection.execute(sql.SQL(" ").join(clauses))
        row: Any = connection.execute(CREATED, (name,)).fetchone()
    return dict(zip(("owner", "encoding", "collation"), row, strict=True))


def delete(server: Target, name: str, *, force: bool) -> Json:
    """Delete one; `force` ends its connections."""
    statement = "DROP DATABASE {} WITH (FORCE)" if force else "DROP DATABASE {}"
    with server.connect() as connection, changing(connection):
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    return {}


def check_name(connection: Connection, name: str) -> None:
    """Raises `DatastoreRefused` for one that the server would cut, and take for another."""
    longest = int(one(connection, "SHOW max_identifier_length"))
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise DatastoreRefused("the name is not Unicode text") from None
    if "\0" in name:
        raise DatastoreRefused("the name contains a NUL, which PostgreSQL does not allow")
    if length > longest:
        raise DatastoreRefused(f"the name has {length} bytes, PostgreSQL allows {longest}")


def _clause(option: str, value: str) -> sql.Composable:
    if option == "encoding":
        return sql.SQL("ENCODING {}").format(sql.Literal(value))
    return sql.SQL("OWNER {}" if option == "owner" else "TEMPLATE {}").format(sql.Identifier(value))


def _with_template(connection: Connection, options: Mapping[str, str]) -> dict[str, str]:
    """Another encoding than the usual template's is possible from template0 only."""
    encoding = options.get("encoding")
    if encoding is None or "template" in options:
        return dict(options)
    usual = "SELECT encoding = pg_char_to_encoding(%s) FROM pg_database WHERE datname = 'template1'"
    return dict(options) if one(connection, usual, encoding) else {**options, "template": "template0"}
