"""One Redis: its connections, and the server that a replication request means."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.config import DatastoreSettings
from agent.datastores.base import Datastore, DatastoreDown, DatastoreRefused
from agent.datastores.redis import source as redis_source
from agent.datastores.redis.connection import ConnectionOptions, Login
from agent.datastores.redis.source import Options, Source
from agent.datastores.redis.state import RedisState
from agent.errors import ConfigError

if TYPE_CHECKING:
    import redis


class Redis(Datastore):
    """One Redis, with connections without retries."""

    driver = "redis"
    schemes = ("redis", "rediss", "unix")
    absent_facts = MappingProxyType({"timeline": "Redis has no timelines", "slots": "Redis has no replication slots"})
    no_databases = "Redis has no databases to create or delete: they are numbered and always there"

    def __init__(self, settings: DatastoreSettings) -> None:
        super().__init__(settings)
        self.connections = ConnectionOptions(settings.url, settings.timeout, self._login)
        for name, peer in settings.peers.items():
            _check_replicable(peer.url, f"datastore.peers.{name}.url")
        if settings.primary is not None:
            _check_replicable(settings.primary, "datastore.primary")

    def is_up(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except DatastoreDown:
            return False
        except DatastoreRefused:
            return True
        return True

    def source(self, name: str | None, here: RedisState, own: Options) -> Source:
        """The requested server: the peer of this name, otherwise `datastore.primary`, otherwise the present source."""
        if (peer := self.peer(name)) is not None:
            return redis_source.of_peer(peer, own, self.settings.timeout)
        if (found := redis_source.followed(here, own, self.settings.timeout)) is None:
            raise DatastoreRefused(f"Redis at {self.address} follows no source: set datastore.primary, or name a peer")
        return found

    def client(self) -> AbstractContextManager[redis.Redis]:
        """A connection without retries and with translated errors."""
        return self.connections.client()

    def _login(self) -> Login:
        return Login(password=self.password())


def _check_replicable(url: str, option: str) -> None:
    """Check a URL: Redis follows only hosts and ports. Raises `ConfigError`."""
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(f"{option}: expected redis://host:port or rediss://host:port")
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ConfigError(f"{option}: not a url") from None  # the url itself may hold a password
