"""A stamp of a file: a different stamp means that the file may have changed since it was read."""

import os
import time
from pathlib import Path

JUST_NOW = 100_000_000
"""Nanoseconds in which two changes of a file may get the same time."""

Stamp = tuple[int, ...]


def at(path: Path) -> Stamp:
    """The stamp of the file at `path`; empty if there is no file."""
    try:
        return of(os.stat(path))
    except OSError:
        return ()


def of(status: os.stat_result) -> Stamp:
    # A file written just now may change again with the same times: its stamp always differs, so it is read again.
    unsettled = abs(time.time_ns() - status.st_mtime_ns) < JUST_NOW
    moment = time.monotonic_ns() if unsettled else 0
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, moment)
