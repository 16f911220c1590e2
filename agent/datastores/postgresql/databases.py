"""Create, delete and inspect databases of PostgreSQL, with the plans for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql import readiness
from agent.datastores.postgresql.connection import Connection, Target, all_of, changing, one
from agent.datastores.postgresql.outcome import settled
from agent.models import Json
from agent.plan import Discard, Needs, Plan, Would, refuse

NOT_TO_OWN = ("postgres", "template0", "template1")
"""The databases whose owner must stay the server's superuser."""
HALF_DELETED = -2
"""`datconnlimit` of a database whose deletion was interrupted."""

FACTS = """
    SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datistemplate, datconnlimit,
           (SELECT count(*) FROM pg_stat_activity WHERE datid = pg_database.oid AND pid <> pg_backend_pid()
            AND backend_type = 'client backend')
    FROM pg_database WHERE datname::text = %s
"""
# Objects that prevent the deletion of a database, also with force.
HOLDS = """
    SELECT 'the replication slot ' || slot_name FROM pg_replication_slots WHERE active AND database::text = %(name)s
    UNION ALL SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts WHERE database::text = %(name)s
    UNION ALL SELECT 'the subscription ' || subname FROM pg_subscription JOIN pg_database ON pg_database.oid = subdbid
              WHERE datname::text = %(name)s
"""
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname::text = %s)"


def exists(server: Target, name: str) -> bool:
    """Whether the database exists; waits for a running change to end."""
    with server.connect() as connection, changing(connection):
        return _exists(connection, name)


# Create


def plan_create(server: Target, name: str, options: Mapping[str, str]) -> Plan:
    """What `create` would do now."""
    with server.connect() as connection:
        return _creation(connection, name, options)


def create(server: Target, name: str, options: Mapping[str, str]) -> Json:
    """Create a database; atomic, also if its commit is not confirmed in time."""
    return settled(lambda: _create(server, name, options), lambda: _created(server, name))


def _creation(connection: Connection, name: str, options: Mapping[str, str]) -> Plan:
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal
    try:
        check_name(connection, name)
    except DatastoreRefused as error:
        return refuse(str(error), "choose another name")
    if _exists(connection, name):
        return refuse(f"the database {name} exists already", "choose another name, or delete it first")
    owner = options.get("owner")
    if owner is not None and not one(connection, ROLE_EXISTS, owner):
        return refuse(f'the role "{owner}" does not exist', "create it with database_user_create, or name another")
    template = _with_template(connection, options).get("template", "template1")
    if not _exists(connection, template):
        return refuse(f"the template {template} does not exist", "name a database that exists")
    size = size_of(connection, template)
    facts = {"writable": True, "template": template, "template_bytes": size, "owner": owner}
    steps = [f"create the database {name} as a copy of {template}"]
    summary = f"the database {name} would be created"
    return Plan(Would.CHANGE, summary, steps=steps, needs=Needs(disk_bytes=size), facts=facts)


def _create(server: Target, name: str, options: Mapping[str, str]) -> Json:
    with server.connect() as connection, changing(connection):
        readiness.require(_creation(connection, name, options))
        clauses: list[sql.Composable] = [sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))]
        clauses += [_clause(option, value) for option, value in _with_template(connection, options).items()]
        connection.execute(sql.SQL(" ").join(clauses))
        created = facts_of(connection, name)
        return created | (_undone(server, connection, name) if connection.unconfirmed else {})


def _undone(server: Target, connection: Connection, name: str) -> dict[str, Json]:
    """Delete a database whose creation no standby confirmed. Raises `DatastoreRefused` after the deletion."""
    try:
        with server.connect(locally=True) as other:
            other.execute(_named("DROP DATABASE {}", name))
    except DatastoreError:  # a session is connected already, so the database stays
        return dict(readiness.unconfirmed(connection))
    raise DatastoreRefused(
        f"the database {name} is not created: its commit took longer than {server.timeout:g} s "
        f"(datastore.timeout) and waited for {connection.waits_for or 'a synchronous standby'}; it is removed again"
    )


def _created(server: Target, name: str) -> Json:
    """The facts of the database if a statement with a lost connection created it, else None."""
    with server.connect() as connection, changing(connection):
        return facts_of(connection, name) if _exists(connection, name) else None


# Delete


def plan_delete(server: Target, name: str, *, force: bool) -> Plan:
    """What `delete` would do now. The caller has refused the server's own databases."""
    with server.connect() as connection:
        return _deletion(connection, name, force=force)


def delete(server: Target, name: str, *, force: bool) -> Json:
    """Delete a database; `force` ends its connections."""
    return settled(lambda: _delete(server, name, force=force), lambda: None if exists(server, name) else {})


def _deletion(connection: Connection, name: str, *, force: bool) -> Plan:
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal
    row = connection.execute(FACTS, (name,)).fetchone()
    if row is None:
        return refuse(f"the database {name} does not exist", "check the name")
    owner, _, _, is_template, limit, sessions = row
    size = size_of(connection, name)
    facts = {"writable": True, "owner": owner, "size_bytes": size, "connections": sessions}
    held = [each[0] for each in connection.execute(HOLDS, {"name": name})]
    if is_template:
        return refuse(f"{name} is a template", f'run ALTER DATABASE "{name}" IS_TEMPLATE false first', facts=facts)
    if held:
        return refuse(f"the database {name} is used by {', '.join(held)}", "remove that first", facts=facts)
    if sessions and not force:
        several = "s" if sessions > 1 else ""
        reason = f"the database {name} is being accessed by other users: {sessions} session{several}"
        return refuse(reason, "end the sessions, or use force", facts=facts)
    half = limit == HALF_DELETED
    summary = f"the database {name} and all its data would be deleted"
    return Plan(
        Would.DESTROY,
        summary,
        steps=[*([f"end {sessions} session(s)"] if sessions else []), f"delete the database {name}"],
        discards=[Discard(f"the database {name}", size, "bytes")],
        warnings=["an earlier deletion of this database was interrupted: its data is lost already"] if half else [],
        facts=facts,
    )


def _delete(server: Target, name: str, *, force: bool) -> Json:
    statement = "DROP DATABASE {} WITH (FORCE)" if force else "DROP DATABASE {}"
    with server.connect() as connection, changing(connection):
        plan = readiness.require(_deletion(connection, name, force=force))
        try:
            connection.execute(_named(statement, name))
        except psycopg.Error:
            if _is_half_deleted(connection, name):
                raise DatastoreRefused(
                    f"the deletion of the database {name} was interrupted: its data is lost and no session can use it; "
                    "run database_delete again"
                ) from None
            raise
        done = {"size_bytes": plan.facts["size_bytes"], "owner": plan.facts["owner"]}
        return done | readiness.unconfirmed(connection)


def _is_half_deleted(connection: Connection, name: str) -> bool:
    if connection.broken:
        return False
    row = connection.execute(FACTS, (name,)).fetchone()
    return row is not None and row[4] == HALF_DELETED


# Facts


def check_name(connection: Connection, name: str) -> None:
    """Check a name. Raises `DatastoreRefused` for a name that the server would truncate to another one."""
    longest = int(one(connection, "SHOW max_identifier_length"))
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise DatastoreRefused("the name is not Unicode text") from None
    if "\0" in name:
        raise DatastoreRefused("the name contains a NUL, which PostgreSQL does not allow")
    if length > longest:
        raise DatastoreRefused(f"the name has {length} bytes, PostgreSQL allows {longest}")


def size_of(connection: Connection, name: str) -> int | None:
    """Size of a database on disk in bytes; None if the agent's role may not read it."""
    allowed = """
        SELECT CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
               THEN pg_database_size(oid) END
        FROM pg_database WHERE datname::text = %s
    """
    sizes = all_of(connection, allowed, name)
    return sizes[0] if sizes else None


def _exists(connection: Connection, name: str) -> bool:
    try:
        found: bool = one(connection, "SELECT EXISTS (SELECT FROM pg_database WHERE datname::text = %s)", name)
    except UnicodeEncodeError:
        return False
    return found


def facts_of(connection: Connection, name: str) -> dict[str, Json]:
    """Owner, encoding and collation of an existing database."""
    row: Any = connection.execute(FACTS, (name,)).fetchone()
    return dict(zip(("owner", "encoding", "collation"), row, strict=False))


def _clause(option: str, value: str) -> sql.Composable:
    if option == "encoding":
        return sql.SQL("ENCODING {}").format(sql.Literal(value))
    return sql.SQL("OWNER {}" if option == "owner" else "TEMPLATE {}").format(sql.Identifier(value))


def _with_template(connection: Connection, options: Mapping[str, str]) -> dict[str, str]:
    """The template for this encoding: an encoding other than that of template1 requires template0."""
    encoding = options.get("encoding")
    if encoding is None or "template" in options:
        return dict(options)
    usual = "SELECT encoding = pg_char_to_encoding(%s) FROM pg_database WHERE datname = 'template1'"
    return dict(options) if one(connection, usual, encoding) else {**options, "template": "template0"}


def _named(statement: str, name: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(name))
