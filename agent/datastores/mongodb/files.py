"""Set aside the data files of one mongod for a copy, and restore them.

During a copy the old data is in a folder among the new files; the folder is also the mark that the data is
incomplete. `EMPTYING` contains a part of the old data, the rest is in its original place; `EMPTIED` contains all of
it. Other files (key files, certificates, logs, settings, diagnostic data, documents set aside by a rollback) are not
moved.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from agent.datastores.base import DatastoreRefused
from agent.util import atomic_files

EMPTYING = "agent-resync-emptying"
EMPTIED = "agent-resync-old"
DROPPING = "agent-resync-dropping"
"""Folder of obsolete old data: after a kill its rest is deleted, never restored."""
CLEARED = "agent-cleared"
"""A mark file in `EMPTIED`: the old data was discarded, and its rest must not be restored."""
DATA_FILE = re.compile(r"WiredTiger.*|.+\.wt|mongod\.lock|storage\.bson")
DATA_DIRECTORY = ("journal", "_tmp", "key.store")
KEPT_DIRECTORY = ("diagnostic.data", "rollback")


def is_in_progress(directory: Path) -> bool:
    """Whether a resync began and has not succeeded; False without permission to check."""
    return any(os.path.exists(directory / name) for name in (EMPTYING, EMPTIED))


def has_leftovers(directory: Path) -> bool:
    """Whether an earlier resync left files."""
    return any(os.path.exists(directory / name) for name in (EMPTYING, EMPTIED, DROPPING))


def data_of(directory: Path) -> list[Path]:
    """The files and folders of MongoDB's data in the directory."""
    return sorted(entry for entry in directory.iterdir() if _is_data(entry))


def size(*paths: Path) -> int:
    """Bytes on disk; files that disappear meanwhile are not counted."""
    total = 0
    for path in paths:
        for folder, _, names in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except OSError:
                    continue
    return total


def check_movable(directory: Path) -> None:
    """Raises `DatastoreRefused` if the data cannot be set aside and restored by renaming."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DatastoreRefused(f"the agent may not rename files in {directory}: give its user that right")
    for entry in data_of(directory):
        if entry.is_symlink() or os.path.ismount(entry):
            raise DatastoreRefused(
                f"{entry} is a link or a mount: the old data cannot be set aside by renaming; resync it by hand"
            )


def set_aside(directory: Path) -> None:
    """Move the data into `EMPTIED`; continues after an interruption. `put_back` undoes it."""
    emptying, emptied = directory / EMPTYING, directory / EMPTIED
    emptying.mkdir(mode=0o700, exist_ok=True)
    atomic_files.sync(directory)
    if (emptied / CLEARED).exists():
        shutil.rmtree(emptied)
    for entry in data_of(directory):
        if (emptying / entry.name).exists():
            _delete(entry)  # made by a server that started on the rest of an interrupted resync
        else:
            entry.rename(emptying / entry.name)
    atomic_files.sync(emptying)
    emptying.rename(emptied)
    atomic_files.sync(directory)


def discard_old(directory: Path) -> None:
    """Delete the data that was set aside and keep the mark. This cannot be undone."""
    emptied = directory / EMPTIED
    atomic_files.create(emptied / CLEARED, b"")
    for entry in emptied.iterdir():
        if entry.name != CLEARED:
            _delete(entry)


def put_back(directory: Path) -> bool:
    """Replace the present data by the data that was set aside; False if there is none to restore.

    The server must be down. Idempotent after any interruption.
    """
    emptying, emptied = directory / EMPTYING, directory / EMPTIED
    if (emptied / CLEARED).exists():
        return False
    if emptied.exists():
        for entry in data_of(directory):
            _delete(entry)
        emptied.rename(emptying)  # from here on the directory contains old data
        atomic_files.sync(directory)
    if not emptying.exists():
        return False
    for entry in emptying.iterdir():
        if (directory / entry.name).exists():
            _delete(directory / entry.name)
        entry.rename(directory / entry.name)
    atomic_files.sync(directory)
    emptying.rmdir()
    atomic_files.sync(directory)
    return True


def drop_old(directory: Path) -> None:
    """Delete the data that was set aside, after the new data is proved."""
    emptied, dropping = directory / EMPTIED, directory / DROPPING
    if dropping.exists():
        shutil.rmtree(dropping)
    if emptied.exists():
        emptied.rename(dropping)
        atomic_files.sync(directory)
        shutil.rmtree(dropping)
    emptying = directory / EMPTYING
    if emptying.exists():
        shutil.rmtree(emptying)
    atomic_files.sync(directory)


def _is_data(entry: Path) -> bool:
    if entry.name in (EMPTYING, EMPTIED, DROPPING, *KEPT_DIRECTORY):
        return False
    if not entry.is_dir():
        return bool(DATA_FILE.fullmatch(entry.name))
    if entry.name in DATA_DIRECTORY:
        return True
    return any(entry.glob("*.wt")) or any(entry.glob("*/*.wt"))  # also with directoryPerDB or directoryForIndexes


def _delete(entry: Path) -> None:
    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
