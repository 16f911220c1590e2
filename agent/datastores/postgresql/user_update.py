"""Change a user of PostgreSQL: password, databases, privileges, login.

Privileges are stored in each database. The change runs in one transaction per database, and all are committed when
none has failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from psycopg import sql

from agent.datastores.base import DatastoreRefused, UserChanges
from agent.datastores.postgresql import grants, readiness
from agent.datastores.postgresql.connection import Connection, Target, all_of, changing, one
from agent.datastores.postgresql.outcome import repeated
from agent.datastores.postgresql.ownership import hand_over, join, named
from agent.datastores.postgresql.users import SESSIONS, hashed, lock_out, oid_of, refuse_grant
from agent.models import Json
from agent.plan import Plan, Would, nothing, refuse

# The databases on which a role has privileges or that it owns, and those in which it has other privileges.
DATABASES = """
    SELECT datname, datdba = %(oid)s OR EXISTS (SELECT FROM aclexplode(datacl) AS given WHERE given.grantee = %(oid)s)
    FROM pg_database
    WHERE datdba = %(oid)s OR EXISTS (SELECT FROM aclexplode(datacl) AS given WHERE given.grantee = %(oid)s)
       OR datallowconn AND EXISTS (SELECT FROM pg_shdepend WHERE dbid = pg_database.oid AND deptype = 'a'
                                   AND refclassid = 'pg_authid'::regclass AND refobjid = %(oid)s)
    ORDER BY 1
"""
OWNED = "SELECT datname FROM pg_database WHERE datdba = %s ORDER BY 1"
DEFAULT_PRIVILEGES = "readwrite"


@dataclass(frozen=True)
class Wanted:
    """The changes of a role's privileges, login and password."""

    oid: int
    take: Sequence[str]
    """Databases in which its privileges end."""
    give: Mapping[str, str]
    """Databases with new privileges, and the level."""
    locked: bool | None
    """Whether to lock it; None: unchanged."""
    password: bool


def plan_update(server: Target, name: str, changes: UserChanges) -> Plan:
    """What `update` would do now."""
    with server.connect() as connection:
        return _look(server, connection, name, changes)[0]


def update(server: Target, name: str, changes: UserChanges) -> Json:
    """Change a user; atomic. A repetition of the same changes is harmless."""
    return repeated(lambda: _update(server, name, changes))


def _look(server: Target, connection: Connection, name: str, changes: UserChanges) -> tuple[Plan, Wanted | None]:
    if changes.keep_old_password:
        reason = "PostgreSQL stores one password for a role, so the old one cannot stay valid together with the new one"
        cure = "leave keep_old_password out, or create a second user, move the application over and delete the first"
        return refuse(reason, cure), None
    if (refusal := readiness.not_writable(connection)) is not None:
        return refusal, None
    oid = oid_of(connection, name)
    if oid is None:
        return refuse(f"there is no user {name}", "check the name"), None
    if changes.password is not None and "\0" in changes.password:
        return refuse("the password contains a NUL, which PostgreSQL does not allow", "choose another"), None
    try:
        wanted = _wanted(server, connection, name, oid, changes)
    except DatastoreRefused as error:
        return refuse(str(error), "change the arguments"), None
    for privileges in set(wanted.give.values()):
        databases = [database for database, level in wanted.give.items() if level == privileges]
        if (refusal := refuse_grant(connection, name, databases, privileges)) is not None:
            return refusal, None
    return _plan(connection, name, wanted), wanted


def _wanted(server: Target, connection: Connection, name: str, oid: int, changes: UserChanges) -> Wanted:
    present = _present(server, connection, oid)
    databases = list(dict.fromkeys(present if changes.databases is None else changes.databases))
    owned = all_of(connection, OWNED, oid)
    level = changes.privileges or _usual(present)
    give = {each: changes.privileges or present.get(each) or level for each in databases}
    kept_back = [each for each in owned if give.get(each, "") != "owner"]
    if kept_back and (changes.databases is not None or changes.privileges is not None):
        raise DatastoreRefused(
            f"{name} owns database {', '.join(kept_back)}: change its owner with database_update first"
        )
    could_log_in: bool = one(connection, "SELECT rolcanlogin FROM pg_roles WHERE oid = %s", oid)
    locked = changes.locked if changes.locked is not None and changes.locked is could_log_in else None
    return Wanted(
        oid,
        take=[each for each in present if each not in give],
        give={each: level for each, level in give.items() if present.get(each) != level},
        locked=locked,
        password=changes.password is not None,
    )


def _usual(present: Mapping[str, str | None]) -> str:
    """The level of privileges in the role's databases. Raises `DatastoreRefused` if it differs between them."""
    levels = {level for level in present.values() if level is not None}
    if len(levels) > 1:
        several = ", ".join(f"{level} in {database}" for database, level in present.items())
        raise DatastoreRefused(f"the user has different privileges in its databases ({several}): name privileges")
    return levels.pop() if levels else DEFAULT_PRIVILEGES


def _plan(connection: Connection, name: str, wanted: Wanted) -> Plan:
    sessions = one(connection, SESSIONS, wanted.oid)
    steps = [f"end its privileges in {database}" for database in wanted.take]
    steps += [f"grant {level} in {database}" for database, level in wanted.give.items()]
    steps += ["set the new password"] if wanted.password else []
    if wanted.locked is not None:
        steps.append(f"refuse logins and end {sessions} session(s)" if wanted.locked else "allow logins")
    facts = {"user": name, "writable": True, "connections": sessions}
    if not steps:
        return nothing(f"the user {name} already has these properties", facts=facts)
    would = Would.DISRUPT if wanted.take or (wanted.locked and sessions) else Would.CHANGE
    return Plan(would, f"the user {name} would be changed", steps=steps, facts=facts)


def _update(server: Target, name: str, changes: UserChanges) -> Json:
    with server.connect() as connection, changing(connection):
        plan, wanted = _look(server, connection, name, changes)
        readiness.require(plan)
        assert wanted is not None
        _join_all(connection, name, wanted)
        with ExitStack() as prepared:
            prepared.enter_context(connection.transaction())  # entered first, so committed last
            for database in [*wanted.take, *wanted.give]:
                inside = prepared.enter_context(server.connect(database))
                prepared.enter_context(inside.transaction())
                _change_inside(inside, name, wanted, wanted.give.get(database))
            _change_role(connection, name, wanted, changes)
        if wanted.locked:
            lock_out(connection, name, wanted.oid)
        return {
            "databases": list(_present(server, connection, wanted.oid)),
            "changed": list(plan.steps),
            "still_owns_in": _still_owns(server, wanted),
        } | readiness.unconfirmed(connection)


def _join_all(connection: Connection, name: str, wanted: Wanted) -> None:
    """Become a member of the roles before the transactions, which would otherwise block each other."""
    if wanted.take or wanted.give or wanted.locked is not None:
        join(connection, name)


def _change_inside(connection: Connection, name: str, wanted: Wanted, level: str | None) -> None:
    grants.revoke(connection, name, wanted.oid)
    if level is not None:
        grants.grant(connection, name, level)


def _change_role(connection: Connection, name: str, wanted: Wanted, changes: UserChanges) -> None:
    for database in wanted.take:
        connection.execute(named("REVOKE ALL ON DATABASE {} FROM {}", database, name))
    for database, level in wanted.give.items():
        connection.execute(named("GRANT CONNECT ON DATABASE {} TO {}", database, name))
        if level == "owner":
            hand_over(connection, database, name)
    if changes.password is not None:
        secret = hashed(connection, name, changes.password)
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(secret))
        connection.execute(statement)
    if wanted.locked is not None:
        connection.execute(named("ALTER ROLE {} NOLOGIN" if wanted.locked else "ALTER ROLE {} LOGIN", name))


def _still_owns(server: Target, wanted: Wanted) -> list[str]:
    """The databases without privileges now in which the role still owns objects."""
    found = []
    for database in wanted.take:
        with server.connect(database) as inside:
            if grants.owned_objects(inside, wanted.oid):
                found.append(database)
    return found


def _present(server: Target, connection: Connection, oid: int) -> dict[str, str | None]:
    """The role's databases with the levels of privileges."""
    found = {}
    for database, let_in in connection.execute(DATABASES, {"oid": oid}).fetchall():
        with server.connect(database) as inside:
            level = grants.level(inside, oid)
        if let_in or level is not None:
            found[database] = level
    return found
