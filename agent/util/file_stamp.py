"""What shows that a file has changed since it was read."""

import os
import time
from pathlib import Path

JUST_NOW = 100_000_000
"""Nanoseconds in which a file may change again without a later time of change."""

Stamp = tuple[int, ...]


def at(path: Path) -> Stamp:
    """The stamp of the file at `path`; empty where there is none."""
    try:
        return of(os.stat(path))
    except OSError:
        return ()


def of(status: os.stat_result) -> Stamp:
    # A file written this very moment may be written once more with the same times: look again.
    unsettled = abs(time.time_ns() - status.st_mtime_ns) < JUST_NOW
    moment = time.monotonic_ns() if unsettled else 0
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, moment)
