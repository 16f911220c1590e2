"""Whom a PostgreSQL is to follow after a resync, and how it logs in there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from psycopg.conninfo import make_conninfo

from agent.config import Datastore as Settings
from agent.datastores.base import DatastoreError, password_in
from agent.datastores.postgresql_connection import Target, one, parse
from agent.datastores.postgresql_files import DataDirectory
from agent.errors import ConfigError


@dataclass(frozen=True)
class Primary:
    """Whom it is to follow. `conninfo` holds no password, `target` knows it; `slot` is used if the primary has it."""

    target: Target
    conninfo: str
    slot: str

    def conninfo_with_database(self) -> str:
        """pg_rewind, unlike replication, connects to a database."""
        return make_conninfo(self.conninfo, dbname=self.target.database)


def primary_of(settings: Settings, server: Target, data: DataDirectory, node: str) -> Primary:
    """The configured one, else the one that this replica was told to follow."""
    before = data.set_before()
    known = before.get("primary_conninfo") or _asked(server, "primary_conninfo")
    if settings.primary is None and not known:
        raise DatastoreError("this server does not know its primary: set datastore.primary in the configuration")
    try:
        params = parse(settings.primary or known, "datastore.primary")
    except ConfigError as error:
        raise DatastoreError(str(error)) from None
    params = {"user": data.owner.pw_name, **_pgpass_of(data), **params}
    database = params.pop("dbname", "postgres") if settings.primary else "postgres"
    configured = partial(password_in, settings.primary_password_file)
    target = Target(params | {"dbname": database}, configured, settings.timeout)
    public = {name: value for name, value in params.items() if name not in ("password", "dbname")}
    if (password := target.password_now()) is not None:
        data.write_passfile(password)
        public["passfile"] = str(data.passfile)
    conninfo = make_conninfo(**{"application_name": node or None} | public)
    return Primary(target, conninfo, before.get("primary_slot_name") or _asked(server, "primary_slot_name"))


def _pgpass_of(data: DataDirectory) -> dict[str, str]:
    """The file where libpq looks for the owner's passwords, also if we are root."""
    path = Path(data.owner.pw_dir) / ".pgpass"
    return {"passfile": str(path)} if path.exists() else {}


def _asked(server: Target, setting: str) -> str:
    """A setting of the server, where it runs and tells."""
    try:
        with server.connect() as connection:
            return str(one(connection, "SELECT current_setting(%s)", setting))
    except DatastoreError:
        return ""
