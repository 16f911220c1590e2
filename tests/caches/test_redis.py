"""A real Redis and a real Valkey are flushed: only the configured databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.caches.base import CacheFailed
from agent.caches.redis import RedisCache
from agent.config import CacheSettings
from agent.util.stop import Stop
from tests.servers.fixtures import temporary_directory
from tests.servers.redis import MAKES, RedisServer, binary_of

PASSWORD = "correct-horse"
FILL = "for i = 1, ARGV[1] do redis.call('set', 'k' .. i, string.rep('x', 1000)) end"


@pytest.fixture(scope="module", params=MAKES)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    for directory in temporary_directory():
        with RedisServer(directory / "redis", appendonly=False, binary=binary_of(request.param)) as server:
            yield server


@pytest.fixture(autouse=True)
def filled(server: RedisServer) -> None:
    """Three databases of ten keys each."""
    for database in ("0", "1", "2"):
        fill(server, database, 10)


def fill(server: RedisServer, database: str, count: int) -> None:
    server.cli("-n", database, "eval", FILL, "0", str(count))


def keys(server: RedisServer) -> list[int]:
    return [int(server.cli("-n", str(database), "dbsize")) for database in range(3)]


def clear(url: str, *databases: int, **options: Any) -> dict[str, int]:
    cleared = RedisCache(
        CacheSettings(kind="redis", url=url, databases=databases or (0,), **{"timeout": 5, **options})
    ).clear(Stop())
    assert cleared.problem is None and not cleared.unfinished
    return cleared.freed


@pytest.mark.parametrize("url", ["unix://{socket}", "redis://127.0.0.1:{port}", "redis://127.0.0.1:{port}/"])
@pytest.mark.parametrize("databases, left", [((), [0, 10, 10]), ((1,), [10, 0, 10]), ((2, 0), [0, 10, 0])])
def test_the_named_databases_are_flushed(
    databases: tuple[int, ...], left: list[int], url: str, server: RedisServer
) -> None:
    freed = clear(url.format(socket=server.socket, port=server.port), *databases)
    assert keys(server) == left
    assert freed["keys"] == left.count(0) * 10


def test_the_freed_keys_and_bytes_of_redis_are_reported(server: RedisServer) -> None:
    fill(server, "0", 20_000)
    freed = clear(f"unix://{server.socket}")
    assert freed["keys"] == 20_000 and 20_000 * 1000 < freed["bytes"] < 60_000_000
    assert clear(f"unix://{server.socket}") == {"keys": 0, "bytes": 0}


def test_refusal_of_a_replica_is_reported_with_its_message(server: RedisServer, server_dir: Path) -> None:
    with RedisServer(server_dir / "replica", replica_of=server, binary=server.binary) as replica:
        replica.await_replica()
        with pytest.raises(CacheFailed, match=r"refuses: .*read only replica"):
            clear(f"unix://{replica.socket}")
    assert keys(server) == [10, 10, 10]


def test_missing_database_is_reported_with_the_freed_amount(server: RedisServer) -> None:
    cleared = RedisCache(CacheSettings(kind="redis", url=f"unix://{server.socket}", databases=(0, 99))).clear(Stop())
    assert cleared.freed["keys"] == 10 and re.search("refuses: .*index is out of range", str(cleared.problem))


def test_password_file_is_read_for_each_clearing_and_never_shown(server_dir: Path) -> None:
    file = server_dir / "password"
    with RedisServer(server_dir / "redis", password=PASSWORD, appendonly=False) as server:
        server.cli("set", "k", "1")
        cache = RedisCache(CacheSettings(kind="redis", url=f"unix://{server.socket}", password_file=file))
        for content, why in ((None, "No such file"), ("", "is empty"), ("wrong-staple", "invalid|WRONGPASS")):
            if content is not None:
                file.write_text(content)
            with pytest.raises(CacheFailed, match=why) as failed:
                cache.clear(Stop())
            assert "staple" not in str(failed.value)
        file.write_text(PASSWORD + "\n")
        assert cache.clear(Stop()).freed["keys"] == 1


def test_a_stopped_redis_is_reported(server_dir: Path) -> None:
    with pytest.raises(CacheFailed, match=r"^nothing listens at unix://"):
        clear(f"unix://{server_dir}/none.sock")


def test_a_redis_that_does_not_answer_is_reported(silent: str) -> None:
    with pytest.raises(CacheFailed, match="does not answer"):
        clear(silent, timeout=0.2)
