"""Whether this host has the memory and the disk that a full copy of another Redis needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agent.datastores.redis_state import State

MEMINFO = Path("/proc/meminfo")
SPARE = 1.2
"""What a copy takes while it is loaded, as a factor of the primary's memory."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a copy needs and that are free; None: not known."""

    memory_needed: int
    memory_free: int | None
    disk_needed: int
    disk_free: int | None

    @property
    def for_both(self) -> bool:
        """Whether the memory holds the old data beside the new."""
        return self.memory_free is None or self.memory_free >= self.memory_needed


def measure(there: State, directory: str | None) -> Room:
    """What a copy of `there` needs, and what the host has. `directory` is where Redis keeps its files."""
    return Room(
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
    """None also where the agent may not look into the directory."""
    try:
        disk = os.statvfs(directory) if directory else None
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize if disk else None
