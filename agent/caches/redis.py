"""A Redis or Valkey server as a cache: flushes the configured databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.caches.base import Cache, CacheFailed, Cleared
from agent.config import CacheSettings, DatastoreSettings
from agent.datastores.base import DatastoreError
from agent.datastores.redis.datastore import RedisDatastore as Server
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    import redis


class RedisCache(Cache):
    """Counts keys, and bytes of the server's memory."""

    def __init__(self, settings: CacheSettings) -> None:
        super().__init__(settings)
        Server.require_driver()

    def clear(self, stop: Stop) -> Cleared:
        freed = {"keys": 0, "bytes": 0}
        try:
            for database in self.settings.databases:
                with self._server(database).client() as client:
                    self._flush(client, freed, stop)
        except DatastoreError as error:
            if not freed["keys"]:
                raise CacheFailed(str(error)) from error
            return Cleared(freed, str(error))
        return Cleared(freed)

    def _flush(self, client: redis.Redis, freed: dict[str, int], stop: Stop) -> None:
        """Flush asynchronously: the keys are gone with the answer, and no client waits for the memory to be freed."""
        before, keys = _memory(client)["used_memory"], int(client.dbsize())
        client.flushdb(asynchronous=True)
        if keys:
            freed["keys"] += keys
            freed["bytes"] += max(0, before - self._memory_left(client, stop))

    def _memory_left(self, client: redis.Redis, stop: Stop) -> int:
        """The memory used after the asynchronous flush, or at the timeout."""
        poll(lambda: not _memory(client).get("lazyfree_pending_objects"), self.settings.timeout, stop)
        return int(_memory(client)["used_memory"])

    def _server(self, database: int) -> Server:
        """The server with one database, in the URL so that a reconnect selects it too."""
        parts = urlsplit(self.settings.url or "")
        query = "&".join(filter(None, (parts.query, f"db={database}")))
        url = f"{parts.scheme}://{parts.netloc}{parts.path}?{query}"
        options = {"password_file": self.settings.password_file, "timeout": self.settings.timeout}
        return Server(DatastoreSettings(kind="redis", url=url, **options))  # type: ignore[arg-type]


def _memory(client: redis.Redis) -> dict[str, Any]:
    found: dict[str, Any] = client.info("memory")
    return found
