"""The future source of this server, with the logins of the agent and of this server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.config import DatastoreSettings, Peer
from agent.datastores.base import DatastoreRefused
from agent.datastores.mysql import address
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.session import Row, Session
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """`admin` is the agent's account for queries and copies, `replication` the account of this server."""

    admin: Address
    replication: Address

    @property
    def label(self) -> str:
        """host:port, as in the server's status."""
        return f"{self.replication.host}:{self.replication.port}"


def of_peer(peer: Peer, option: str) -> Source:
    """Check a URL. Raises `DatastoreRefused` if no server can follow it."""
    try:
        admin = address.parse(peer.url, option, peer.password_file)
    except ConfigError as error:
        raise DatastoreRefused(str(error)) from None
    if admin.socket is not None:
        raise DatastoreRefused(f"{option}: expected mysql://user@host:port")
    if peer.replication_user is None:
        return Source(admin, admin)
    file = peer.replication_password_file or admin.password_file
    return Source(admin, replace(admin, user=peer.replication_user, password=None, password_file=file))


def of_row(row: Row, settings: DatastoreSettings) -> Source:
    """The present source, with the present replication account."""
    if settings.primary_password_file is None:
        raise DatastoreRefused("set datastore.primary_password_file, or datastore.primary to another user's url")
    followed = Address(
        row["Source_User"], row["Source_Host"], int(row["Source_Port"]), password_file=settings.primary_password_file
    )
    return Source(followed, followed)


def only_source(session: Session, settings: DatastoreSettings) -> Source:
    """The single source of a replica. Raises `DatastoreRefused` if there are none or several."""
    followed = session.replica_status()
    if len(followed) != 1:
        raise DatastoreRefused(f"{session.where} knows of no primary: set datastore.primary")
    return of_row(followed[0], settings)
