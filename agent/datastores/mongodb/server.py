"""One mongod: its connections, and the other members of its set."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.config import DatastoreSettings
from agent.datastores.base import Datastore, DatastoreDown, DatastoreError, DatastoreRefused
from agent.datastores.mongodb.connection import Answer, ConnectionOptions
from agent.errors import ConfigError

CONNECT_TO_OTHERS = 2.0
"""Timeout in seconds of a connection to another member."""


class MongoDB(Datastore):
    """One mongod over a direct connection: requests never go to another member of its set."""

    driver = "pymongo"
    schemes = ("mongodb",)
    absent_facts = MappingProxyType({"slots": "MongoDB has no replication slots"})

    def __init__(self, settings: DatastoreSettings, connect: float | None = None) -> None:
        super().__init__(settings)
        self.connections = ConnectionOptions(
            settings.url, self.address, settings.timeout, connect or settings.timeout, self.password
        )
        self.primary = None if settings.primary is None else self._other(settings.primary, "datastore.primary")
        for name, peer in settings.peers.items():
            self._other(peer.url, f"datastore.peers.{name}.url")

    def _other(self, url: str, option: str) -> MongoDB:
        """Parse the URL of an option. Raises `ConfigError`."""
        try:
            return self.server(url, self.settings.primary_password_file)
        except ConfigError:
            raise ConfigError(f"{option}: expected mongodb://host:port") from None

    def is_up(self) -> bool:
        try:
            self.command("ping")
        except DatastoreDown:
            return False
        except DatastoreRefused:
            return True
        return True

    def data_directory(self) -> Path | None:
        """The data directory: configured, or reported by the server; None if unknown."""
        return self.settings.data_directory or self.reported_directory()

    def reported_directory(self) -> Path | None:
        """The data directory that the server reports, or None."""
        with suppress(DatastoreError):
            storage = self.command("getCmdLineOpts")["parsed"].get("storage", {})
            return Path(storage["dbPath"]) if "dbPath" in storage else None
        return None

    # Other members

    def named(self, name: str) -> MongoDB:
        """The peer of that name. Raises `DatastoreRefused`."""
        peer = self.peer(name)
        assert peer is not None  # never None for a name
        return self.server(peer.url, peer.password_file)

    def server(self, url: str, password_file: Path | None) -> MongoDB:
        """Another server, with the login of its URL or of this server: all members of a set have the same users."""
        parts = urlsplit(url)
        if parts.scheme != "mongodb" or "@" in parts.netloc:
            return self._with(url, password_file)
        own = urlsplit(self.settings.url)
        user, at, _ = own.netloc.rpartition("@")
        query = parts.query or own.query
        return self._with(
            parts._replace(netloc=f"{user}{at}{parts.netloc}", path=parts.path or "/", query=query).geturl(),
            self.settings.password_file,
        )

    def member(self, address: str) -> MongoDB:
        """Another member of the set, with the login of the peer of this address or of this server."""
        for peer in self.settings.peers.values():
            if unquote(urlsplit(peer.url).netloc.rpartition("@")[2]) == address:
                return self.server(peer.url, peer.password_file)
        return self.server(f"mongodb://{address}/", None)

    def _with(self, url: str, password_file: Path | None) -> MongoDB:
        settings = replace(self.settings, url=url, password_file=password_file, primary=None, peers={})
        return type(self)(settings, CONNECT_TO_OTHERS)

    # Connections

    def hello(self) -> Answer:
        """The answer to `hello`, which needs no login: also available before the server has users."""
        return self.connections.hello()

    def command(self, name: str, value: Any = 1, /, *, database: str = "admin", **more: Any) -> Answer:
        """The answer to one command. Raises `DatastoreError`."""
        return self.connections.command(name, value, database=database, **more)

    def log_in(self, user: str, password: str) -> None:
        """Prove that the user can log in. Raises `DatastoreError`."""
        self.connections.log_in(user, password)
