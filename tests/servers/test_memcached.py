"""The memcached of the tests is real: it keeps items until it is flushed or ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.memcached import MemcachedServer


@pytest.mark.parametrize("tcp", [False, True])
def test_memcached_keeps_an_item_until_its_end(tcp: bool, server_dir: Path) -> None:
    with MemcachedServer(server_dir / "memcached", tcp=tcp) as server:
        server.set("k", "1")
        assert server.get("k") == "1"
        server.kill()
        assert server.pid is None
        server.start()
        assert server.get("k") is None
