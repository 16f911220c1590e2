"""Where `.ci/servers` puts what no package installs."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.process import is_root


def cache_dir() -> Path:
    """$AGENT_TEST_CACHE, else a directory that root's servers can read under other users too."""
    if given := os.environ.get("AGENT_TEST_CACHE"):
        return Path(given)
    return Path("/var/cache/agent-tests") if is_root() else Path.home() / ".cache/agent-tests"


def cached(*parts: str) -> Path:
    """A file or directory of the cache; FileNotFoundError if `.ci/servers` could not make it."""
    path = cache_dir().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: .ci/servers makes it, or says why not")
    return path
