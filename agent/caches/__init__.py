"""The caches of this node that can be cleared."""

from agent.caches.base import Cache
from agent.caches.folder import Folder
from agent.caches.memcached import Memcached
from agent.caches.redis import RedisCache
from agent.config import CacheSettings

KINDS: dict[str, type[Cache]] = {"folder": Folder, "memcached": Memcached, "redis": RedisCache}


def of(settings: CacheSettings) -> Cache:
    """The cache that a `[caches.NAME]` describes. Raises `DriverMissing`."""
    return KINDS[settings.kind](settings)
