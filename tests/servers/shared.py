"""A folder that one process of a test run creates, all of them use, and the last one removes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.process import locked

USERS = ".users"
"""A file in the folder, locked by each process that uses the folder."""


@contextmanager
def shared(folder: Path, make: Callable[[Path], None], lock: Path) -> Iterator[Path]:
    """Yields `folder`, which `make` creates if it does not exist. Exceptions of `make` are passed on.

    The file `lock`, the same in all processes, is locked meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock, fcntl.LOCK_EX):
        if not (folder / USERS).exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / USERS).touch()
        using = os.open(folder / USERS, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(using, fcntl.LOCK_SH)
    try:
        yield folder
    finally:
        with locked(lock, fcntl.LOCK_EX), suppress(BlockingIOError):
            fcntl.flock(using, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        os.close(using)
