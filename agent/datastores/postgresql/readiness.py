"""Check that a PostgreSQL accepts changes: it is writable and its commits complete."""

from __future__ import annotations

from agent.datastores.base import DatastoreRefused
from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, one, parse
from agent.errors import ConfigError
from agent.plan import Plan, refuse

UNCONFIRMED = "no synchronous standby has confirmed this; it took effect on this server"


def not_writable(connection: Connection) -> Plan | None:
    """The refusal of a change if the server accepts none now, else None."""
    if one(connection, "SELECT pg_is_in_recovery()"):
        source = address_in(one(connection, "SHOW primary_conninfo"))
        where = f"a replica of {source}" if source else "in recovery"
        return refuse(f"this server is {where} and read-only", "run this action on the primary")
    if one(connection, "SHOW default_transaction_read_only") == "on":
        return refuse("this server is read-only: default_transaction_read_only is on", "set it off, or use the primary")
    if (held := held_by(connection)) is None:
        return None
    return refuse(f"commits on this server wait: {held}", "start the standby, or change the setting")


def held_by(connection: Connection) -> str | None:
    """The known reason why every commit on this primary waits, as a sentence, or None."""
    synchronous = facts.synchronous(connection)
    if synchronous["satisfied"] is not False:
        return None
    there = len(synchronous["standbys"])
    return (
        f"synchronous_standby_names = '{synchronous['names']}' requires {synchronous['required']} "
        f"standby{'s' if synchronous['required'] > 1 else ''}, and {there or 'none'} of these follows"
    )


def address_in(conninfo: str | None) -> str | None:
    """Host and port of a connection string, without its password; None if it has none."""
    try:
        params = parse(conninfo or "", "primary_conninfo")
    except ConfigError:
        return None
    host = params.get("host") or params.get("hostaddr")
    return f"{host}:{params.get('port', 5432)}" if host else None


def require(plan: Plan) -> Plan:
    """The plan. Raises `DatastoreRefused` with the reason if it is a refusal."""
    if plan.refusal is not None:
        raise DatastoreRefused(plan.refusal.reason)
    return plan


def unconfirmed(connection: Connection) -> dict[str, str]:
    """The member of a result for an unconfirmed commit; empty if the commit was confirmed."""
    if not connection.unconfirmed:
        return {}
    waited = f": {connection.waits_for}" if connection.waits_for else ""
    return {"unconfirmed": f"{UNCONFIRMED}{waited}"}
