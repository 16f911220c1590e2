"""Query this server's source: whether it is reachable, whether it accepts writes, and its GTIDs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mysql import address as mysql_address, replication
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.session import Row, Session, connect
from agent.errors import ConfigError

ANSWERS_WITHIN = 1.0
"""Timeout in seconds of another server's answer for a plan."""
ANSWERS_BEFORE_ACTING = 5.0
"""Timeout in seconds before a promotion: a slow primary must not be mistaken for a dead one."""


@dataclass(frozen=True, slots=True)
class OldPrimary:
    """`state` is `unreachable`, `read_only`, `writable`, or `unknown` if it answers without its state.

    `applied` are its GTIDs and `log` the files of its binary log, if readable. `receives_from` are its present
    sources: address and server_id.
    """

    address: str
    state: str
    error: str | None = None
    applied: str | None = None
    log: tuple[Row, ...] = ()
    receives_from: tuple[tuple[str, object], ...] = ()

    @property
    def reachable(self) -> bool:
        return self.state != "unreachable"


def ask(settings: DatastoreSettings, followed: Row, within: float = ANSWERS_WITHIN) -> OldPrimary:
    """Query the server of a row of `replica_status` with a timeout of `within` seconds."""
    address = replication.primary_of(followed)
    try:
        with at_source(settings, followed, within) as session:
            state = "writable" if replication.is_writable(session) else "read_only"
            upstream = tuple(
                (replication.primary_of(row), row["Source_Server_Id"])
                for _, row in received(session)
                if row["Replica_IO_Running"] == "Yes"
            )
            return OldPrimary(address, state, applied=applied(session), log=_log(session), receives_from=upstream)
    except DatastoreUnreachable as error:
        return OldPrimary(address, "unreachable", error=str(error))
    except DatastoreError as error:
        return OldPrimary(address, "unknown", error=str(error))


@contextmanager
def at_source(settings: DatastoreSettings, followed: Row, within: float = ANSWERS_WITHIN) -> Iterator[Session]:
    """A session at the source, as the user of the peer with that address, otherwise of `datastore.primary`.

    Raises `DatastoreError`. Without credentials, only a closed port can be detected.
    """
    host, port = str(followed["Source_Host"]), int(followed["Source_Port"])
    login = login_for(settings, host, port)
    timeout = min(within, settings.timeout)
    with connect(login or Address("", host, port), timeout) as session:
        if login is None:
            raise DatastoreRefused(f"no credentials for {host}:{port} are configured")
        yield session


def login_for(settings: DatastoreSettings, host: str, port: int) -> Address | None:
    """The agent's account for that server; None if none is configured."""
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


def received(session: Session) -> list[tuple[str, Row]]:
    """The GTIDs received from each source, with its status row; empty without the permission."""
    try:
        return [(str(row.get(session.dialect.received) or ""), row) for row in session.replica_status()]
    except DatastoreRefused:
        return []


def _log(session: Session) -> tuple[Row, ...]:
    """The files of its binary log with their sizes; empty without the permission."""
    try:
        return tuple(session.run("SHOW BINARY LOGS"))
    except DatastoreRefused:
        return ()
