"""A memcached as a cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.caches.base import Cache, CacheFailed, Cleared
from agent.config import CacheSettings
from agent.datastores.base import DriverMissing
from agent.util.pauses import Pauses
from agent.util.stop import Stop

if TYPE_CHECKING:
    from pymemcache.client.base import Client

PORT = 11211


class Memcached(Cache):
    """Counts items and their bytes."""

    def __init__(self, settings: CacheSettings) -> None:
        super().__init__(settings)
        if find_spec("pymemcache") is None:
            raise DriverMissing(
                "the Python package pymemcache is not installed: install the agent with its extra [memcached]"
            )
        self._parts = urlsplit(settings.url or "")
        self._address = f"{self._parts.scheme}://{self._parts.netloc}{self._parts.path}"

    def clear(self, stop: Stop) -> Cleared:
        """Flush all items: no client gets one after the answer. The server frees their memory later."""
        with self._client() as client:
            before = _held(client)
            client.flush_all(noreply=False)
            with suppress(Exception):
                self._await_free(client, stop)
        return Cleared(before)

    def _await_free(self, client: Client, stop: Stop) -> None:
        """Wait until the server no longer counts the flushed items. Servers without the command skip the wait."""
        client.raw_command("lru_crawler crawl all")
        deadline = time.monotonic() + self.settings.timeout
        pauses = Pauses()
        while _held(client)["items"] and time.monotonic() < deadline and not stop.wait(pauses.next()):
            if not client.stats()[b"lru_crawler_running"]:
                break

    @contextmanager
    def _client(self) -> Iterator[Client]:
        """A connection without retries. Raises `CacheFailed` for all its errors."""
        from pymemcache.client.base import Client
        from pymemcache.exceptions import MemcacheError

        where: Any = (self._parts.hostname, self._parts.port or PORT)
        if self._parts.scheme == "unix":
            where = self._parts.path
        timeout = self.settings.timeout
        try:
            with closing(Client(where, connect_timeout=timeout, timeout=timeout)) as client:
                yield client
        except (ConnectionRefusedError, FileNotFoundError):
            raise CacheFailed(f"nothing listens at {self._address}") from None
        except TimeoutError:
            raise CacheFailed(f"memcached at {self._address} does not answer") from None
        except OSError as error:
            raise CacheFailed(f"memcached at {self._address} cannot be reached: {error.strerror or error}") from error
        except MemcacheError as error:
            raise CacheFailed(f"memcached at {self._address} refuses: {_message(error)}") from error


def _held(client: Client) -> dict[str, int]:
    stats = client.stats()
    return {"items": int(stats[b"curr_items"]), "bytes": int(stats[b"bytes"])}


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text) or type(error).__name__
