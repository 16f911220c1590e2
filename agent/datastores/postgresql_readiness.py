"""Whether a PostgreSQL takes changes now: it is writable, and its commits get through."""

from __future__ import annotations

from agent.datastores import postgresql_facts as facts
from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql_connection import Connection, one, parse
from agent.errors import ConfigError
from agent.plan import Plan, refuse

UNCONFIRMED = "no synchronous standby has confirmed this; it took effect on this server"


def not_writable(connection: Connection) -> Plan | None:
    """The refusal of a change on a server that takes none now; None where changes get through."""
    if one(connection, "SELECT pg_is_in_recovery()"):
        source = address_in(one(connection, "SHOW primary_conninfo"))
        where = f"a replica of {source}" if source else "in recovery"
        return refuse(f"this server is {where} and read-only", "run this action on the primary")
    if one(connection, "SHOW default_transaction_read_only") == "on":
        return refuse("this server is read-only: default_transaction_read_only is on", "set it off, or use the primary")
    if (held := held_by(connection)) is None:
        return None
    return refuse(f"no commit gets through on this server: {held}", "start the standby, or change the setting")


def held_by(connection: Connection) -> str | None:
    """What keeps every commit on this primary waiting, as a sentence; None where nothing is known to."""
    synchronous = facts.synchronous(connection)
    if synchronous["satisfied"] is not False:
        return None
    there = len(synchronous["standbys"])
    return (
        f"synchronous_standby_names = '{synchronous['names']}' requires {synchronous['required']} "
        f"standby{'s' if synchronous['required'] > 1 else ''}, and {there or 'none'} of these follows"
    )


def address_in(conninfo: str | None) -> str | None:
    """The host and port of a connection string; None where it has none. Never its password."""
    try:
        params = parse(conninfo or "", "primary_conninfo")
    except ConfigError:
        return None
    host = params.get("host") or params.get("hostaddr")
    return f"{host}:{params.get('port', 5432)}" if host else None


def require(plan: Plan) -> Plan:
    """The plan, unless it refuses. Raises `DatastoreRefused` with its reason."""
    if plan.refusal is not None:
        raise DatastoreRefused(plan.refusal.reason)
    return plan


def unconfirmed(connection: Connection) -> dict[str, str]:
    """The member of a result that says that a commit was not confirmed; empty where it was."""
    if not connection.unconfirmed:
        return {}
    waited = f": {connection.waits_for}" if connection.waits_for else ""
    return {"unconfirmed": f"{UNCONFIRMED}{waited}"}
