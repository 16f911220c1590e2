"""Restricts the unix sockets of `api.bind` to the users permitted by `api.socket_mode` and `api.socket_group`."""

import grp
import os
import stat
from pathlib import Path

from agent.auth import trusted_file
from agent.auth.trusted_file import Untrusted
from agent.config import Api, addresses
from agent.errors import ConfigError


def secure(api: Api) -> None:
    """Set group and mode of each unix socket of `api.bind`, and check them. Raises `ConfigError`.

    gunicorn creates the socket with that mode already, so no other user can connect before this call. A socket of
    systemd is only checked.
    """
    gid = gid_of(api.socket_group)
    mode = int(api.socket_mode, 8)
    for path in [Path(each.removeprefix("unix:")) for each in api.bind if addresses.host_of(each) is None]:
        try:
            trusted_file.check_folder(path.parent)
            _set(path, mode, gid)
            _check(path, mode, gid)
        except Untrusted as error:
            raise ConfigError(f"api.bind: {error}") from None
        except OSError as error:
            group = api.socket_group or "its group"
            raise ConfigError(
                f"api.bind: {path} cannot be given to {group}, mode {api.socket_mode}: {error.strerror}: "
                "add the agent's user to api.socket_group"
            ) from None


def gid_of(group: str | None) -> int | None:
    """The id of a group; None without a name. Raises `ConfigError` if this host has no such group."""
    try:
        return grp.getgrnam(group).gr_gid if group else None
    except KeyError:
        raise ConfigError(f"api.socket_group: this host has no group {group}: run groupadd {group}") from None


def _set(path: Path, mode: int, gid: int | None) -> None:
    if path.lstat().st_uid != os.geteuid():
        return
    if gid is not None:
        os.chown(path, -1, gid, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)


def _check(path: Path, mode: int, gid: int | None) -> None:
    status = path.lstat()
    found = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(f"api.bind: {path} is not a socket: run rm {path}")
    if found & ~mode or (gid is not None and status.st_gid != gid):
        group = f" and SocketGroup={grp.getgrgid(gid).gr_name}" if gid is not None else ""
        raise ConfigError(
            f"api.bind: {path} is open to more users than api.socket_mode and api.socket_group permit "
            f"(mode {found:04o}): set SocketMode={mode:04o}{group} in the socket unit"
        )
