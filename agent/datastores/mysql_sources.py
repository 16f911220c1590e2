"""The server that this one is to follow: how the agent logs in there, and how this server does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.config import Datastore as Settings
from agent.config import Peer
from agent.datastores import mysql_address
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_session import Row, Session
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """`admin` is the account that the agent looks and copies with, `replication` that of this server."""

    admin: Address
    replication: Address

    @property
    def label(self) -> str:
        """host:port, as the server's own status writes it."""
        return f"{self.replication.host}:{self.replication.port}"


def of_peer(peer: Peer, option: str) -> Source:
    """Raises `DatastoreRefused` for a url that no server can follow."""
    try:
        admin = mysql_address.parse(peer.url, option, peer.password_file)
    except ConfigError as error:
        raise DatastoreRefused(str(error)) from None
    if admin.socket is not None:
        raise DatastoreRefused(f"{option}: expected mysql://user@host:port")
    if peer.replication_user is None:
        return Source(admin, admin)
    file = peer.replication_password_file or admin.password_file
    return Source(admin, replace(admin, user=peer.replication_user, password=None, password_file=file))


def of_row(row: Row, settings: Settings) -> Source:
    """The source that is followed already, by the account that it is followed with."""
    if settings.primary_password_file is None:
        raise DatastoreRefused("set datastore.primary_password_file, or datastore.primary to another user's url")
    followed = Address(
        row["Source_User"], row["Source_Host"], int(row["Source_Port"]), password_file=settings.primary_password_file
    )
    return Source(followed, followed)


def only_source(session: Session, settings: Settings) -> Source:
    """The one source that a replica follows. Raises `DatastoreRefused` where there are none or several."""
    followed = session.replica_status()
    if len(followed) != 1:
        raise DatastoreRefused(f"{session.where} knows of no primary: set datastore.primary")
    return of_row(followed[0], settings)
