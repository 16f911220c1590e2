"""Checks trusted files: they must belong to the agent's user or root, and no other user may write them."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from agent.errors import ConfigError

OTHERS_MAY_WRITE = 0o022
OTHERS_MAY_USE = 0o077


class Untrusted(ConfigError):
    """Another user owns the file or may write it. The message has the command that corrects it."""


class Exposed(Untrusted):
    """Another user may read a private file; its content is still trusted."""


def check(path: Path, status: os.stat_result, *, private: bool = False) -> None:
    """Check owner and mode of an open file. `private`: only its owner may read it. Raises `Untrusted`, `Exposed`."""
    _check_owner(path, status)
    mode, limit = stat.S_IMODE(status.st_mode), OTHERS_MAY_USE if private else OTHERS_MAY_WRITE
    remedy = f"run chmod {mode & ~limit:o} {path}"
    if mode & OTHERS_MAY_WRITE:
        raise Untrusted(f"{path}: users other than its owner may write it (mode {mode:04o}): {remedy}")
    if mode & limit:
        raise Exposed(f"{path}: users other than its owner may read it (mode {mode:04o}): {remedy}")


def check_file(path: Path, *, private: bool = False, link: bool = True) -> None:
    """Check the file at `path`, if it exists, and its folder. Raises `Untrusted`.

    `link`: a symbolic link is allowed.
    """
    if not link and path.is_symlink():
        raise Untrusted(f"{path}: it is a symbolic link: run rm {path}")
    if status := _status(path):
        check(path, status, private=private)
    # The folder of the link's target counts: it decides who can replace the file.
    check_folder(path.resolve().parent)


def check_folder(path: Path) -> None:
    """Raises `Untrusted` if another user can replace a file in this folder."""
    status = _status(path)
    if status is None:
        return
    _check_owner(path, status)
    if not stat.S_IMODE(status.st_mode) & OTHERS_MAY_WRITE or status.st_mode & stat.S_ISVTX:
        return
    if not _is_writable_by_private_group_only(status):
        mode = stat.S_IMODE(status.st_mode)
        raise Untrusted(f"{path}: users other than its owner may write it (mode {mode:04o}): run chmod go-w {path}")


def check_roots_folder(folder: Path) -> None:
    """Raises `Untrusted` unless only root owns and may write the folder, its content and all its parents; `OSError`."""
    for each in (folder, *folder.resolve().parents, *_all_in(folder)):
        status = each.stat()
        if status.st_uid != 0:
            raise Untrusted(f"{each}: it belongs to {user(status.st_uid)}, not to root: run chown root {each}")
        if stat.S_IMODE(status.st_mode) & OTHERS_MAY_WRITE and not _is_sticky_above(each, status, folder):
            mode = stat.S_IMODE(status.st_mode)
            raise Untrusted(f"{each}: users other than root may write it (mode {mode:04o}): run chmod go-w {each}")


def user(uid: int) -> str:
    """The name of a user; the id if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        own = user(os.geteuid())
        expected = own if own == "root" else f"{own} or root"
        raise Untrusted(f"{path}: it belongs to {user(status.st_uid)}, not to {expected}: run chown {own} {path}")


def _all_in(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _all_in(Path(entry.path))


def _is_sticky_above(path: Path, status: os.stat_result, folder: Path) -> bool:
    """Whether `path` is a sticky parent of `folder`, such as /tmp: other users may add files but not replace root's."""
    return bool(status.st_mode & stat.S_ISVTX) and path in folder.resolve().parents


def _is_writable_by_private_group_only(status: os.stat_result) -> bool:
    """Whether the writing group is the owner's private group, as with the umask 002 of many desktops."""
    if status.st_mode & stat.S_IWOTH or status.st_uid == 0:
        return False
    try:
        # Imported here: only such a folder needs it.
        import grp

        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name and not group.gr_mem


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
