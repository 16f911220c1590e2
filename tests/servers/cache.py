"""The folder where `.ci/servers` stores software that no package installs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.servers.process import is_root, run


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


def copy_kept(kept: Path, data: Path, make: Callable[[], None]) -> None:
    """Create the directory `data`: the first call runs `make`, which takes seconds, later calls copy its result."""
    if kept.exists():
        run(["cp", "-a", kept, data])
        return
    make()
    kept.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=kept.parent))
    run(["cp", "-a", data, part / kept.name])
    with suppress(OSError):  # another process made the copy concurrently
        (part / kept.name).rename(kept)
    shutil.rmtree(part)
