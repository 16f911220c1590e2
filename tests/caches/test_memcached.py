"""A real memcached is flushed, and the reported counts are correct."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.caches.base import CacheFailed
from agent.caches.memcached import Memcached
from agent.config import CacheSettings
from agent.util.stop import Stop
from tests.servers.fixtures import temporary_directory
from tests.servers.memcached import MemcachedServer


@pytest.fixture(scope="module", params=[False, True], ids=["socket", "tcp"])
def server(request: pytest.FixtureRequest) -> Iterator[MemcachedServer]:
    for directory in temporary_directory():
        with MemcachedServer(directory / "memcached", tcp=request.param) as server:
            yield server


def cache_at(url: str) -> Memcached:
    return Memcached(CacheSettings(kind="memcached", url=url, timeout=5))


def test_items_of_memcached_are_cleared_and_counted_once(server: MemcachedServer) -> None:
    for number in range(50):
        server.set(f"k{number}", "x" * 100)
    freed = cache_at(server.url).clear(Stop()).freed
    assert freed["items"] == 50 and freed["bytes"] > 50 * 100
    assert server.get("k7") is None
    assert cache_at(server.url).clear(Stop()).freed == {"items": 0, "bytes": 0}


def test_item_stored_after_the_clearing_is_kept(server: MemcachedServer) -> None:
    cache_at(server.url).clear(Stop())
    server.set("new", "1")
    assert server.get("new") == "1"


def test_a_memcached_without_flush_all_reports_that(server_dir: Path) -> None:
    with MemcachedServer(server_dir / "memcached", options=["-F"]) as server:
        server.set("k", "1")
        with pytest.raises(CacheFailed, match=r"refuses: flush_all not allowed$"):
            cache_at(server.url).clear(Stop())
        assert server.get("k") == "1"


def test_second_clearing_counts_no_item_again_without_lru_maintainer(server_dir: Path) -> None:
    with MemcachedServer(server_dir / "memcached", options=["-o", "no_lru_maintainer"]) as server:
        server.set("k", "1")
        counts = [cache_at(server.url).clear(Stop()).freed["items"] for _ in range(2)]
        assert counts == [1, 0]


def test_a_memcached_without_a_crawler_is_flushed(server_dir: Path) -> None:
    with MemcachedServer(server_dir / "memcached", options=["-o", "no_lru_crawler,no_lru_maintainer"]) as server:
        server.set("k", "1")
        assert cache_at(server.url).clear(Stop()).freed["items"] == 1
        assert server.get("k") is None


def test_a_stopped_memcached_is_reported(server_dir: Path) -> None:
    for url in (f"unix://{server_dir}/none.sock", "memcached://127.0.0.1:1"):
        with pytest.raises(CacheFailed) as failed:
            cache_at(url).clear(Stop())
        assert str(failed.value) == f"nothing listens at {url}"


def test_a_memcached_that_does_not_answer_is_reported(silent: str) -> None:
    with pytest.raises(CacheFailed, match=r"memcached at unix://\S+ does not answer$"):
        Memcached(CacheSettings(kind="memcached", url=silent, timeout=0.2)).clear(Stop())
