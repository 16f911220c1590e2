"""A temporary directory on a real disk, because an fsync to memory would improve every figure."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figure import Unmeasured

IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}


@contextmanager
def disk_directory(wanted: Path | None) -> Iterator[Path]:
    """A new directory under `wanted`, or under the first usual place on a disk; removed at the end.

    Raises `Unmeasured` if there is none."""
    places = [wanted] if wanted else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    for place in places:
        if place.is_dir() and file_system(place)[0] not in IN_MEMORY:
            with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as name:
                yield Path(name)
            return
    raise Unmeasured(f"no disk file system among {', '.join(map(str, places))}")


def file_system(path: Path) -> tuple[str, str]:
    """The type and the mount point of the file system that holds `path`."""
    target = path.resolve()
    found = ("unknown", "?")
    # A later mount covers an earlier one: take the last of the longest mount points.
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind = line.split()[:3]
        if target.is_relative_to(point) and len(point) >= len(found[1]):
            found = (kind, point)
    return found


def fsync_milliseconds(directory: Path) -> float:
    """The median time of a small append with fsync, in milliseconds."""
    times = []
    with (directory / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1000)
    return median(times)
