"""Create and delete users of one MySQL or MariaDB. A user means all accounts of that name, for any host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agent.datastores.base import DatastoreError, DatastoreRefused, agreed
from agent.datastores.mysql import databases as mysql_databases, grants, login, password_policy
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.grants import Account
from agent.datastores.mysql.session import OutOfTime, Session
from agent.models import Json
from agent.plan import Plan, Would, refuse

ANYWHERE = "%"
UNFINISHED = "255.255.255.255"
"""The host of an account with incomplete grants: no client can connect from it."""

OF_THE_SERVER = ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys")
LONGEST_NAME = {"MySQL": 32, "MariaDB": 128}

DEFINED = (
    "SELECT 'view' AS kind, table_schema AS db, table_name AS name, definer AS definer FROM information_schema.views",
    "SELECT LOWER(routine_type), routine_schema, routine_name, definer FROM information_schema.routines",
    "SELECT 'trigger', trigger_schema, trigger_name, definer FROM information_schema.triggers",
    "SELECT 'event', event_schema, event_name, definer FROM information_schema.events",
)
SHOWN = 20
"""Maximum number of a user's objects that a refusal names."""


def exists(session: Session, name: str) -> bool:
    """Whether a complete account of that name exists; remains of an interrupted creation do not count."""
    return bool(accounts(session, name))


def accounts(session: Session, name: str) -> list[Account]:
    """The complete accounts of that name."""
    return [(name, host) for host in hosts(session, name) if host != UNFINISHED]


def hosts(session: Session, name: str) -> list[str]:
    """The hosts of the accounts of that name. Names are compared here: the server ignores trailing spaces."""
    return [str(row["host"]) for row in session.run(session.dialect.users) if row["user"] == name]


def plan_create(session: Session, name: str, databases: Sequence[str], privileges: str) -> Plan:
    if exists(session, name):
        return refuse(f"the user {name} exists already", "choose another name, or use database_user_update")
    if len(name) > (longest := LONGEST_NAME[session.dialect.product]):
        return refuse(f"a user's name has {longest} characters at most", "choose a shorter name")
    if (refusal := refuse_databases(session, databases)) is not None:
        return refusal
    steps = [f"create the account {name}@{ANYWHERE}"] + [f"grant {privileges} on {each}" for each in databases]
    return Plan(Would.CHANGE, f"the user {name} would be created", steps=[*steps, "log in as the user"])


def create(
    session: Session, at: Address, timeout: float, name: str, password: str, databases: Sequence[str], privileges: str
) -> Json:
    """Prepare the account under an unusable host, rename it in one statement, and log in."""
    agreed(plan_create(session, name, databases, privileges))
    password_policy.check(session, name, password)
    account = (name, ANYWHERE)
    with _draft(session, name, password):
        for database in databases:
            grants.grant(session, (name, UNFINISHED), database, privileges)
        session.run("RENAME USER %s@%s TO %s@%s", name, UNFINISHED, *account)
    try:
        proof = login.prove(at, timeout, f"{name}@{ANYWHERE}", password, databases)
    except DatastoreRefused as error:
        session.run("DROP USER %s@%s", *account)
        raise DatastoreRefused(f"the user {name} was dropped again, because its login failed: {error}") from None
    return {
        "account": f"{name}@{ANYWHERE}", "databases": list(databases), "privileges": privileges, "proved_by": proof,
    }  # fmt: skip


def plan_delete(session: Session, name: str, reassign_to: str | None) -> Plan:
    found = accounts(session, name)
    if not found:
        return refuse(f"no user is called {name}", "check the name")
    if name in OF_THE_SERVER:
        return refuse(f"the user {name} belongs to the server and is not deleted", "name a user of an application")
    if str(session.value("SELECT CURRENT_USER()")).rpartition("@")[0] == name:
        return refuse(f"the user {name} is the agent's own", "name a user of an application")
    if reassign_to is not None:
        return refuse(f"a user of {session.dialect.product} owns nothing to reassign", "leave reassign_to out")
    if defined := _defined_by(session, {f"{name}@{host}" for _, host in found}):
        more = f" and {len(defined) - SHOWN} more" if len(defined) > SHOWN else ""
        return refuse(
            f"the user {name} is the definer of {', '.join(defined[:SHOWN])}{more}",
            "delete these or give them another definer first",
            facts={"definer_of": defined},
        )
    connected = len(mysql_databases.connections(session, user=name))
    return Plan(
        Would.DISRUPT if connected else Would.CHANGE,
        f"the user {name} would be deleted",
        steps=[*(f"delete the account {name}@{host}" for _, host in found), "end the connections of the user"],
        facts={"accounts": [f"{name}@{host}" for _, host in found], "connections": connected},
    )


def delete(session: Session, name: str, reassign_to: str | None = None) -> Json:
    """Delete all accounts of that name and end their connections."""
    agreed(plan_delete(session, name, reassign_to))
    found = hosts(session, name)
    where = ", ".join(["%s@%s"] * len(found))
    session.run(f"DROP USER {where}", *(each for host in found for each in (name, host)))
    # A deleted user keeps its connections, with their privileges.
    left = mysql_databases.connections(session, user=name)
    mysql_databases.end(session, left)
    deleted = [f"{name}@{host}" for host in found if host != UNFINISHED]
    return {"accounts": deleted, "connections_ended": len(left)}


def refuse_databases(session: Session, databases: Sequence[str]) -> Plan | None:
    """The reason why these databases are not granted to a user, or None."""
    for database in databases:
        if mysql_databases.is_system(database):
            return refuse(f"{database} belongs to the server and is not granted", "leave it out")
        if not mysql_databases.exists(session, database):
            return refuse(f"there is no database {database}", "create it first, or leave it out")
    return None


@contextmanager
def _draft(session: Session, name: str, password: str) -> Iterator[None]:
    """An incomplete account for the block, dropped on a failure. First drops one that an interruption left."""
    dialect = session.dialect
    hashed = dialect.hash_password(password)
    session.run("DROP USER IF EXISTS %s@%s", name, UNFINISHED)
    session.run(f"CREATE USER %s@%s {dialect.identified}", name, UNFINISHED, hashed, secret=hashed)
    try:
        yield
    except OutOfTime:
        raise  # the connection is lost; the next attempt drops the account
    except DatastoreError:
        session.run("DROP USER IF EXISTS %s@%s", name, UNFINISHED)
        raise


def _defined_by(session: Session, definers: set[str]) -> list[str]:
    rows = session.run(" UNION ALL ".join(DEFINED))
    return sorted(f"{row['kind']} {row['db']}.{row['name']}" for row in rows if row["definer"] in definers)
