"""Control groups, by the name that systemd uses: their processes, and whether the kernel has frozen them."""

import os
from pathlib import Path

from agent.processes.process import GONE, all_pids

ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
"""Mount points of the unified hierarchy."""


def members(cgroup: str) -> list[int]:
    """The pids in the group and its subgroups, on cgroup v1 and v2; none for an empty name."""
    if not cgroup:
        return []
    return [pid for pid in all_pids() if any(_within(path, cgroup) for path in _paths(pid))]


def is_ours(cgroup: str) -> bool:
    """Whether this process is in the group."""
    return bool(cgroup) and any(_within(path, cgroup) for path in _paths(os.getpid()))


def of_container(id: str, pid: int) -> str:
    """The group of a container with this main process; empty if that process does not run on this host."""
    return next((path for path in _paths(pid) if id in path), "") if id and pid else ""


def _paths(pid: int) -> list[str]:
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (*GONE, PermissionError):
        return []
    return [line.split(":", 2)[2] for line in lines]


def _within(path: str, cgroup: str) -> bool:
    return path == cgroup or path.startswith(cgroup.rstrip("/") + "/")


def frozen(cgroup: str) -> bool | None:
    """Whether the kernel has frozen the group; None if the kernel does not show it."""
    if not cgroup:
        return None
    for root in ROOTS:
        try:
            events = Path(f"{root}{cgroup}/cgroup.events").read_text()
        except OSError:
            continue
        if "frozen " in events:
            return "frozen 1" in events
    return None
