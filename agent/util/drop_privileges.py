"""Commands that root runs on the agent's files work as the agent's user: that user gains nothing of root's power."""

import os
import pwd
from pathlib import Path

from agent.errors import ConfigError

STARTED_BY = os.getuid()
"""The user who started this command, whichever user it becomes."""


def become(path: Path) -> None:
    """As root, go on as the one other user that `path`, or a folder on the way to it, belongs to; else change nothing.

    For the rest of this process: a link, or a folder that is exchanged meanwhile, leads no further than that user could
    go. Raises `ConfigError` where the way belongs to several.
    """
    if os.geteuid() == 0 and (uid := _owner(path)):
        _become(uid)


def owner(path: Path) -> str:
    """The name of that user, for programs that root runs on the file; empty for root. Raises `ConfigError`."""
    uid = _owner(path)
    return pwd.getpwuid(uid).pw_name if uid else ""


def _owner(path: Path) -> int:
    owners = _owners(path)
    if len(owners) > 1:
        users = ", ".join(sorted(map(str, owners)))
        raise ConfigError(f"{path}: the folders on the way belong to several users ({users}): let one of them own it")
    return next(iter(owners), 0)


def _owners(path: Path) -> set[int]:
    owners = set()
    for each in (path.absolute(), *path.absolute().parents):
        try:
            owners.add(os.lstat(each).st_uid)
        except FileNotFoundError:
            continue
    return owners - {0}


def _become(uid: int) -> None:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
    else:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(uid, uid, uid)
