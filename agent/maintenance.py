"""The maintenance flag: a file that exists while this host is in maintenance. A web server may check it too."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import clock, log
from agent.config import Settings
from agent.util import atomic_files

ON, TURNING_ON, TURNING_OFF = "on", "turning on", "turning off"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
IN_MEMORY = ("tmpfs", "ramfs")
LARGEST = 4096
"""Bytes; a larger file was not written by the agent."""


def warn_if_in_memory(settings: Settings) -> None:
    """Log a warning if a boot would remove the flag, and so end maintenance."""
    flag = MaintenanceFlag.of(settings)
    if settings.maintenance and flag.is_in_memory():
        log.maintenance_in_memory(str(flag.path))


@dataclass(frozen=True)
class Mark:
    """The content of the flag: its state, since when it exists, and the user and action that set it."""

    state: str
    since: str
    by: str = ""
    action: str = ""


class MaintenanceFlag:
    """The flag, readable by everybody. Writes are atomic and synced: after a power cut it is whole or missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> MaintenanceFlag:
        """The flag at the configured path, by default beside `agent.db`."""
        path = settings.maintenance.flag if settings.maintenance else None
        return cls(path or settings.agent.db.absolute().with_name("maintenance"))

    def exists(self) -> bool:
        """Whether the flag exists. True on errors too: kinds that must not run in maintenance then wait."""
        try:
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def is_in_memory(self) -> bool:
        """Whether the flag lies on a file system that a boot empties; False if unknown."""
        try:
            device = os.stat(self.path.parent).st_dev
            mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        except OSError:
            return False
        place = f"{os.major(device)}:{os.minor(device)}"
        kinds = [mount.partition(" - ")[2].split()[0] for mount in mounts if mount.split()[2] == place]
        return bool(kinds) and kinds[0] in IN_MEMORY

    def read(self) -> Mark | None:
        """The content; None if the flag does not exist. A file written by another program counts as `on`.

        Raises `OSError`.
        """
        try:
            modified = self.path.stat().st_mtime_ns // 1000
        except (FileNotFoundError, NotADirectoryError):
            return None
        content = _texts(self.path)
        state = content.get("state", "")
        since = content.get("since", "") if TIME.fullmatch(content.get("since", "")) else clock.rfc3339(modified)
        known = state if state in (TURNING_ON, TURNING_OFF) else ON
        return Mark(known, str(since), content.get("by", ""), content.get("action", ""))

    def write(self, mark: Mark) -> None:
        """Raises `OSError`."""
        atomic_files.replace(self.path, json.dumps(asdict(mark)).encode() + b"\n", mode=0o644)

    def remove(self) -> None:
        """Remove the flag; no error if it does not exist. Raises `OSError`."""
        atomic_files.remove(self.path)


def _texts(path: Path) -> dict[str, str]:
    """The string members of the file; empty if it cannot be read or is not a JSON object."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}
