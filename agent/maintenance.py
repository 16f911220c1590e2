"""The file that is there while this host is in maintenance: anybody may look for it, also a web server."""

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
"""Bytes; what is larger was not written here."""


def tell(settings: Settings) -> None:
    """A warning where maintenance would end with a boot."""
    flag = MaintenanceFlag.of(settings)
    if settings.maintenance and flag.is_in_memory():
        log.maintenance_in_memory(str(flag.path))


@dataclass(frozen=True)
class Mark:
    """What the file says: how far it is, since when the file has been there, and who asked, by which action."""

    state: str
    since: str
    by: str = ""
    action: str = ""


class MaintenanceFlag:
    """Readable by everybody, and there whole or not at all, also after a power cut."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> MaintenanceFlag:
        """The one of the configuration: beside `agent.db` unless it says where."""
        path = settings.maintenance.flag if settings.maintenance else None
        return cls(path or settings.agent.db.absolute().with_name("maintenance"))

    def is_there(self) -> bool:
        """True where the flag cannot be read: kinds that must not run in maintenance then wait."""
        try:
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def is_in_memory(self) -> bool:
        """Whether it lies on a file system that a boot empties; false where that is unknown."""
        try:
            device = os.stat(self.path.parent).st_dev
            mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        except OSError:
            return False
        place = f"{os.major(device)}:{os.minor(device)}"
        kinds = [mount.partition(" - ")[2].split()[0] for mount in mounts if mount.split()[2] == place]
        return bool(kinds) and kinds[0] in IN_MEMORY

    def read(self) -> Mark | None:
        """What it says; None where it is not there. One that another program made means that it is on.

        Raises `OSError`.
        """
        try:
            modified = self.path.stat().st_mtime_ns // 1000
        except (FileNotFoundError, NotADirectoryError):
            return None
        said = _texts(self.path)
        state = said.get("state", "")
        since = said.get("since", "") if TIME.fullmatch(said.get("since", "")) else clock.rfc3339(modified)
        known = state if state in (TURNING_ON, TURNING_OFF) else ON
        return Mark(known, str(since), said.get("by", ""), said.get("action", ""))

    def write(self, mark: Mark) -> None:
        """Raises `OSError`."""
        atomic_files.replace(self.path, json.dumps(asdict(mark)).encode() + b"\n", mode=0o644)

    def remove(self) -> None:
        """Remove it, also where it is gone already. Raises `OSError`."""
        atomic_files.remove(self.path)


def _texts(path: Path) -> dict[str, str]:
    """The members of the file that are texts; none where it was not written here, or cannot be read."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            said = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: value for name, value in said.items() if isinstance(value, str)} if isinstance(said, dict) else {}
