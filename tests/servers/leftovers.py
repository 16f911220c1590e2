"""Leftovers of tests, found and removed: processes, mounts, cgroups, network namespaces.

`python -m tests.servers.leftovers`, once no tests run, looks over the machine and ends with 1 if
there is any.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.servers.process import await_that, is_alive, run

CGROUPS = Path("/sys/fs/cgroup")
TEMPORARY = ("agent-", "node-", "pytest-of-", "t-")  # the prefixes of the tests' directories


def left_in(directory: str) -> list[str]:
    """Descriptions of all users of this directory, or of all directories with this prefix."""
    return [
        *(f"process {pid}: {words}" for pid, words in processes_using(directory)),
        *(f"mount {mount}" for mount in mounts_below(directory)),
    ]


def processes_using(directory: str) -> Iterator[tuple[int, str]]:
    """Other processes with a working directory, an argument or an open file in the directory."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with suppress(OSError):  # the process has ended
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            used = [*opened(entry), str((entry / "cwd").readlink())]
            mine = directory in words or any(path.startswith(directory) for path in used)
            if mine and pid not in (os.getpid(), os.getppid()) and is_alive(pid):
                yield pid, words


def opened(process: Path) -> Iterator[str]:
    """The files that a process has open."""
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(descriptor.readlink())


def mounts_below(directory: str) -> list[str]:
    """The mount points in a directory, the deepest first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.startswith(directory)), reverse=True)


def left_on_machine() -> list[str]:
    """Everything on this machine that looks like a leftover of a test."""
    temporary = Path(tempfile.gettempdir())
    beginnings = [str(temporary / beginning) for beginning in TEMPORARY]
    directories = [*temporary.glob("agent-*"), *temporary.glob("node-*"), *temporary.glob("t-*")]
    return [
        *(left for beginning in beginnings for left in left_in(beginning)),
        *(f"directory {directory}" for directory in directories),
        *(f"cgroup {cgroup}" for cgroup in CGROUPS.glob("**/t-*")),
        *(f"network namespace {name}" for name in Path("/run/netns").glob("*")),
    ]


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup and those below it, once the processes that ended have left it."""

    def removed() -> bool:
        for below, _, _ in os.walk(cgroup, topdown=False):
            try:
                Path(below).rmdir()
            except OSError:
                return False
        return not cgroup.exists()

    await_that(removed, 10, f"the end of {cgroup}")


def unmount(mount: Path) -> None:
    """Unmount everything there, including stacked mounts, as soon as it is unused."""

    def unmounted() -> bool:
        # Path.is_mount does not see a directory that is mounted on itself
        if str(mount) not in mounts_below(str(mount)):
            return True
        subprocess.run(["umount", str(mount)], capture_output=True)
        return False

    try:
        await_that(unmounted, 5, f"the unmount of {mount}")
    except TimeoutError:
        run(["umount", "--lazy", str(mount)])


if __name__ == "__main__":
    found = left_on_machine()
    print("\n".join(found) or "nothing left")
    sys.exit(bool(found))
