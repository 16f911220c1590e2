"""Fixtures for the tests of caches, beside real servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def silent(server_dir: Path) -> Iterator[str]:
    """The url of a socket that accepts connections and never answers."""
    path = server_dir / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield f"unix://{path}"
