"""The data files of one mongod: set aside for a copy, and put back.

While a copy is made the old data lies in a directory among the new files, which is also the mark that the data is not
whole. `EMPTYING` holds a part of the old data, the rest lies where it was; `EMPTIED` holds all of it. What is not data
(key files, certificates, logs, settings, the diagnostic data, the documents that a rollback has set aside) stays where
it is.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from agent.datastores.base import DatastoreRefused
from agent.hosts import files

EMPTYING = "agent-resync-emptying"
EMPTIED = "agent-resync-old"
DROPPING = "agent-resync-dropping"
"""Old data that nothing needs any more: what a kill leaves of it is deleted, never put back."""
CLEARED = "agent-cleared"
"""A file in `EMPTIED`: the old data was given up, so that what is left of it is nothing to put back."""
DATA_FILE = re.compile(r"WiredTiger.*|.+\.wt|mongod\.lock|storage\.bson")
DATA_DIRECTORY = ("journal", "_tmp", "key.store")
KEPT_DIRECTORY = ("diagnostic.data", "rollback")


def is_under_way(directory: Path) -> bool:
    """Whether a resync began and has not ended well; none did where we may not look."""
    return any(os.path.exists(directory / name) for name in (EMPTYING, EMPTIED))


def has_leftovers(directory: Path) -> bool:
    """Whether an earlier resync left anything."""
    return any(os.path.exists(directory / name) for name in (EMPTYING, EMPTIED, DROPPING))


def data_of(directory: Path) -> list[Path]:
    """The files and directories in it that are MongoDB's data."""
    return sorted(entry for entry in directory.iterdir() if _is_data(entry))


def size(*paths: Path) -> int:
    """Bytes on disk; what vanishes meanwhile counts nothing."""
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
    """Raises `DatastoreRefused` where the data could not be set aside and put back by renaming."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DatastoreRefused(f"the agent may not rename files in {directory}: give its user that right")
    for entry in data_of(directory):
        if entry.is_symlink() or os.path.ismount(entry):
            raise DatastoreRefused(
                f"{entry} is a link or a mount: the old data cannot be set aside by renaming; resync it by hand"
            )


def set_aside(directory: Path) -> None:
    """Move the data into `EMPTIED`; continues where it was interrupted, and can be undone by `put_back`."""
    emptying, emptied = directory / EMPTYING, directory / EMPTIED
    emptying.mkdir(mode=0o700, exist_ok=True)
    files.sync(directory)
    if (emptied / CLEARED).exists():
        shutil.rmtree(emptied)
    for entry in data_of(directory):
        if (emptying / entry.name).exists():
            _delete(entry)  # of a server that was started on what an interrupted resync had left
        else:
            entry.rename(emptying / entry.name)
    files.sync(emptying)
    emptying.rename(emptied)
    files.sync(directory)


def give_up_old(directory: Path) -> None:
    """Delete the data that was set aside, and keep the mark: there is no way back from here."""
    emptied = directory / EMPTIED
    files.create(emptied / CLEARED, b"")
    for entry in emptied.iterdir():
        if entry.name != CLEARED:
            _delete(entry)


def put_back(directory: Path) -> bool:
    """Replace what is there by the data that was set aside; False where there is none to put back.

    The server must be down. Can be interrupted anywhere and called again.
    """
    emptying, emptied = directory / EMPTYING, directory / EMPTIED
    if (emptied / CLEARED).exists():
        return False
    if emptied.exists():
        for entry in data_of(directory):
            _delete(entry)
        emptied.rename(emptying)  # from here on what lies in the directory is old data
        files.sync(directory)
    if not emptying.exists():
        return False
    for entry in emptying.iterdir():
        if (directory / entry.name).exists():
            _delete(directory / entry.name)
        entry.rename(directory / entry.name)
    files.sync(directory)
    emptying.rmdir()
    files.sync(directory)
    return True


def drop_old(directory: Path) -> None:
    """Delete the data that was set aside, once the new data is proved."""
    emptied, dropping = directory / EMPTIED, directory / DROPPING
    if dropping.exists():
        shutil.rmtree(dropping)
    if emptied.exists():
        emptied.rename(dropping)
        files.sync(directory)
        shutil.rmtree(dropping)
    emptying = directory / EMPTYING
    if emptying.exists():
        shutil.rmtree(emptying)
    files.sync(directory)


def _is_data(entry: Path) -> bool:
    if entry.name in (EMPTYING, EMPTIED, DROPPING, *KEPT_DIRECTORY):
        return False
    if not entry.is_dir():
        return bool(DATA_FILE.fullmatch(entry.name))
    if entry.name in DATA_DIRECTORY:
        return True
    return any(entry.glob("*.wt")) or any(entry.glob("*/*.wt"))  # with a directory for each database, or for indexes


def _delete(entry: Path) -> None:
    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
