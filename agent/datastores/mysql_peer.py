"""The source of this server, asked by the agent: whether it is reachable, takes writes, and what it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agent.config import Datastore as Settings
from agent.datastores import mysql_address, mysql_replication
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_position import applied
from agent.datastores.mysql_session import Row, Session, connect
from agent.errors import ConfigError

ASK_FOR = 1.0
"""Seconds that another server has for its answer to a plan; a dead host gives none."""
ASK_BEFORE_ACTING = 5.0
"""The same before a promotion: a primary that is slow to answer must not be taken for a dead one."""


@dataclass(frozen=True, slots=True)
class OldPrimary:
    """`state` is `unreachable`, `read_only`, `writable`, or `unknown` where it answers and does not say.

    `applied` are its GTIDs and `log_end` the file and place in its binary log, where it says so.
    """

    address: str
    state: str
    error: str | None = None
    applied: str | None = None
    log: tuple[Row, ...] = ()

    @property
    def reachable(self) -> bool:
        return self.state != "unreachable"


def ask(settings: Settings, followed: Row, ask_for: float = ASK_FOR) -> OldPrimary:
    """Ask the server of a row of `replica_status`, which may take `ask_for` seconds."""
    address = mysql_replication.primary_of(followed)
    try:
        with at_source(settings, followed, ask_for) as session:
            state = "writable" if mysql_replication.is_writable(session) else "read_only"
            return OldPrimary(address, state, applied=applied(session), log=_log(session))
    except DatastoreUnreachable as error:
        return OldPrimary(address, "unreachable", error=str(error))
    except DatastoreError as error:
        return OldPrimary(address, "unknown", error=str(error))


@contextmanager
def at_source(settings: Settings, followed: Row, ask_for: float = ASK_FOR) -> Iterator[Session]:
    """A session at the source, as the user of the peer of that address, else as that of `datastore.primary`.

    Raises `DatastoreError`; without any credentials only where nothing listens there is that known.
    """
    host, port = str(followed["Source_Host"]), int(followed["Source_Port"])
    login = login_for(settings, host, port)
    timeout = min(ask_for, settings.timeout)
    with connect(login or Address("", host, port), timeout) as session:
        if login is None:
            raise DatastoreRefused(f"no credentials for {host}:{port} are configured")
        yield session


def login_for(settings: Settings, host: str, port: int) -> Address | None:
    """The account by which the agent asks that server; None where the configuration has none."""
    for name, peer in settings.peers.items():
        try:
            address = mysql_address.parse(peer.url, f"datastore.peers.{name}.url", peer.password_file)
        except ConfigError as error:
            raise DatastoreRefused(str(error)) from None
        if (address.host, address.port) == (host, port):
            return address
    if settings.primary is None:
        return None
    primary = mysql_address.parse(settings.primary, "datastore.primary", settings.primary_password_file)
    return replace(primary, host=host, port=port)


def _log(session: Session) -> tuple[Row, ...]:
    """The files of its binary log with their sizes; empty where our user may not ask."""
    try:
        return tuple(session.run("SHOW BINARY LOGS"))
    except DatastoreRefused:
        return ()
