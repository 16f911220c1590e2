"""A real Redis over TLS: trusted authorities, and the messages for wrong options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.caches.base import CacheFailed
from tests.caches.test_redis import clear, fill
from tests.servers.redis import RedisServer
from tests.trust.certificates import Authority


@pytest.fixture(scope="module")
def certified(module_dir: Path) -> Iterator[RedisServer]:
    """A Redis with TLS."""
    authority = Authority(module_dir)
    with RedisServer(module_dir / "redis", appendonly=False, tls=(*authority.server(), authority.ca)) as server:
        yield server


def test_a_redis_with_the_certificate_of_another_authority_is_not_trusted(
    certified: RedisServer, tmp_path: Path
) -> None:
    address = f"rediss://127.0.0.1:{certified.tls_port}"
    for url in (address, f"{address}?ssl_ca_certs={Authority(tmp_path).ca}"):
        with pytest.raises(CacheFailed) as failed:
            clear(url)
        expected = rf"Redis at {address} is not trusted: .*certificate.* \(set ssl_ca_certs in its url\)"
        assert re.fullmatch(expected, str(failed.value))
    fill(certified, "0", 10)
    assert clear(str(certified.tls_url))["keys"] == 10


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (
            "ssl_ca_certs=/no/such/file",
            "cannot be reached: a TLS file in its url: No such file or directory",
        ),
        ("ssl_ca_cert=/misspelt", "is not understood: ssl_ca_cert"),
    ],
)
def test_wrong_tls_option_of_the_url_is_reported(query: str, why: str, certified: RedisServer) -> None:
    with pytest.raises(CacheFailed) as failed:
        clear(f"rediss://127.0.0.1:{certified.tls_port}?{query}")
    assert str(failed.value).endswith(f"Redis at rediss://127.0.0.1:{certified.tls_port} {why}")
