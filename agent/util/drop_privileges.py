"""Commands that root runs on the agent's files switch to the agent's user, so that user cannot abuse root's rights."""

import os
import pwd
from pathlib import Path

from agent.errors import ConfigError

STARTED_BY = os.getuid()
"""The user id that started this command, before any switch."""


def become(path: Path) -> None:
    """As root, switch this process to the user that owns `path` or one of its parents; without such a user do nothing.

    The switch is permanent: a link or a folder replaced by that user gives access only to files the user has access to
    anyway. Raises `ConfigError` if several users own them.
    """
    if os.geteuid() == 0 and (uid := _owner(path)):
        _become(uid)


def owner(path: Path) -> str:
    """The name of the user that `become` switches to; empty for root. Raises `ConfigError`."""
    uid = _owner(path)
    return pwd.getpwuid(uid).pw_name if uid else ""


def _owner(path: Path) -> int:
    owners = _owners(path)
    if len(owners) > 1:
        users = ", ".join(sorted(map(str, owners)))
        raise ConfigError(f"{path}: its parent folders belong to several users ({users}): give all to one of them")
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
