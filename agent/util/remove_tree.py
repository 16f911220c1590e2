"""Removes a folder tree."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path


def remove_tree(path: Path) -> bool:
    """Remove a folder and its content, including folders without write permission for their owner.

    A link or file in its place is removed, and a link is not followed. Returns False if something could not be removed.
    """
    if path.is_symlink() or path.is_file():
        with suppress(OSError):
            path.unlink()
        return not os.path.lexists(path)
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        _let_owner_write(path)
        shutil.rmtree(path, ignore_errors=True)
    return not os.path.lexists(path)


def _let_owner_write(path: Path) -> None:
    """Give the owner all permissions on the folder and the folders below it; does not follow links."""
    _open_up(path)
    for folder, names, _ in os.walk(path):
        for name in names:
            _open_up(Path(folder, name))


def _open_up(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(os.fstat(descriptor).st_mode) | stat.S_IRWXU)
        finally:
            os.close(descriptor)
