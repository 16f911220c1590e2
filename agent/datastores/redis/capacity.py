"""Compare this host's free memory and disk with the needs of a full copy of another Redis."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.datastores.redis.state import RedisState

MEMINFO = Path("/proc/meminfo")
SPARE = 1.2
"""Memory of a copy during its load, as a factor of the primary's memory."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Bytes needed by a copy and bytes free; None: not known."""

    memory_needed: int
    memory_free: int | None
    disk_needed: int
    disk_free: int | None

    @property
    def for_both(self) -> bool:
        """Whether the memory can hold the old and the new data together."""
        return self.memory_free is None or self.memory_free >= self.memory_needed


def measure(there: RedisState, directory: str | None) -> Capacity:
    """The needs of a copy of `there` and the host's free resources. `directory` is the folder of Redis' files."""
    return Capacity(
        memory_needed=int(there.dataset_bytes * SPARE),
        memory_free=_available_memory(),
        disk_needed=there.dataset_bytes,
        disk_free=_free_disk(directory),
    )


def _available_memory() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _free_disk(directory: str | None) -> int | None:
    """Free bytes on disk; None also without permission to read the directory."""
    try:
        disk = os.statvfs(directory) if directory else None
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize if disk else None
