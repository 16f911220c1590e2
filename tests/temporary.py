"""A file system in memory for the temporary files of a run: a file on a disk costs ten times the processor time.

Unmounted at the end of the run. Only for root, where TMPDIR is not set and the memory suffices; others use the disk.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.servers.leftovers import unmount
from tests.servers.process import is_root, run

SIZE = 10 << 30
"""Bytes at most; a run holds less than half of it at a time."""
SPARE = 4 << 30
"""Bytes of memory that must remain for the servers if the file system is full."""
MOUNTED = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Set TMPDIR before the other processes of the run start and inherit it."""
    wanted = is_root() and not hasattr(config, "workerinput") and "TMPDIR" not in os.environ
    if not wanted or config.option.collectonly or available() < SIZE + SPARE:
        return
    # Short: unix sockets hold 107 characters.
    place = Path(tempfile.mkdtemp(prefix="t-"))
    try:
        run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=1777", "tmpfs", place])
    except (RuntimeError, OSError, subprocess.TimeoutExpired):
        place.rmdir()
        return
    config.stash[MOUNTED] = place
    use(place)


def pytest_unconfigure(config: pytest.Config) -> None:
    if place := config.stash.get(MOUNTED, None):
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        unmount(place)
        place.rmdir()


def use(place: Path) -> None:
    """Make `tempfile` use the directory, here and in all processes started later."""
    os.environ["TMPDIR"] = str(place)
    tempfile.tempdir = None


def available() -> int:
    """Bytes of memory that the kernel could give to new programs."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(kilobytes["MemAvailable"].split()[0]) * 1024
