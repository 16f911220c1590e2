"""The future primary of a PostgreSQL, and the logins for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from agent.config import Peer
from agent.datastores.base import DatastoreError, password_in
from agent.datastores.postgresql.connection import Target, one, parse
from agent.datastores.postgresql.files import DataDirectory, escaped
from agent.errors import ConfigError


@dataclass(frozen=True)
class Primary:
    """`target` is the login for SQL, `sender` for replication; `conninfo` is the server's setting, without password."""

    target: Target
    sender: Target
    conninfo: str
    rewind_conninfo: str
    slot: str
    passwords: Mapping[str, str]

    @property
    def endpoint(self) -> tuple[str, str]:
        """Host and port."""
        params = self.target.params
        return str(params.get("host") or params.get("hostaddr") or ""), str(params.get("port") or 5432)

    def settings(self) -> dict[str, str]:
        """The settings of a server that follows this primary."""
        return {"primary_conninfo": self.conninfo, "primary_slot_name": self.slot}


def primary_of(peer: Peer | None, server: Target, data: DataDirectory, node: str, timeout: float) -> Primary:
    """The named peer, otherwise the configured source of this replica. Only reads. Raises `DatastoreError`."""
    before = data.set_by_itself()
    known = before.get("primary_conninfo") or _setting(server, data, "primary_conninfo")
    if peer is None and not known:
        raise DatastoreError("this server does not know its primary: name a peer as primary, or set datastore.primary")
    try:
        params = parse(peer.url if peer else known, "datastore.primary")
    except ConfigError as error:
        raise DatastoreError(str(error)) from None
    params = {"user": data.owner.pw_name, **_pgpass_of(data), **params}
    database = params.pop("dbname", "postgres") if peer else "postgres"
    target = Target(params | {"dbname": database}, partial(password_in, peer.password_file if peer else None), timeout)
    sender = _sender_of(peer, params, target, timeout)
    passwords = _lines(target) | _lines(sender)
    passfile = {"passfile": str(data.passfile)} if passwords else {}
    conninfo = make_conninfo(**{"application_name": node or None} | _public(sender.params) | passfile)
    rewind = make_conninfo(**_public(target.params) | {"dbname": database} | passfile)
    slot = before.get("primary_slot_name") or _setting(server, data, "primary_slot_name")
    return Primary(target, sender, conninfo, rewind, slot, passwords)


def _sender_of(peer: Peer | None, params: Mapping[str, Any], target: Target, timeout: float) -> Target:
    """The replication account of a peer; default: the account of the URL."""
    replication = {**params, "replication": "true"}
    if peer is None or peer.replication_user is None:
        return Target(replication, target.password_now, timeout)
    replication = {**replication, "user": peer.replication_user, "password": None}
    return Target(replication, partial(password_in, peer.replication_password_file), timeout)


def _public(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in ("password", "dbname", "replication")}


def _lines(target: Target) -> dict[str, str]:
    """The password, by the leading fields of its line in the password file."""
    if (password := target.password_now()) is None:
        return {}
    host, port = target.params.get("host") or target.params.get("hostaddr") or "", target.params.get("port") or 5432
    several = "," in str(host) or "," in str(port) or not host
    where = "*:*" if several else f"{escaped(str(host))}:{port}"
    return {f"{where}:*:{escaped(str(target.params['user']))}": password}


def _pgpass_of(data: DataDirectory) -> dict[str, str]:
    """The password file that libpq uses for the owner of the data, also if the agent is root."""
    path = Path(data.owner.pw_dir) / ".pgpass"
    return {"passfile": str(path)} if path.exists() else {}


def _setting(server: Target, data: DataDirectory, setting: str) -> str:
    """A setting of the server: from the running server, otherwise from its files."""
    try:
        with server.connect() as connection:
            return str(one(connection, "SELECT current_setting(%s)", setting))
    except DatastoreError:
        return data.setting(setting) or ""
