"""The repairs of `doctor --fix`: modes of files, missing folders, a stale polkit rule. Data is never touched."""

import os
import pwd
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.auth import trusted_file
from agent.cli import agent_unit
from agent.cli.doctor import state, units
from agent.config import Settings, addresses
from agent.server import startup_checks
from agent.tools import polkit
from agent.util import atomic_files

FSTAB = Path("/etc/fstab")
FOLDER, SOCKET_FOLDER = 0o750, 0o755
"""Modes of new folders; callers must reach a socket."""


@dataclass(frozen=True)
class Repair:
    """One repair. `command`: the equivalent shell command. `do` raises `OSError`."""

    command: str
    do: Callable[[], None]


def rule(settings: Settings, origin: str) -> Iterator[Repair]:
    """Replace a polkit rule that `agentctl polkit` made for another configuration; only as root."""
    if os.geteuid() != 0 or (present := atomic_files.read(polkit.FILE)) is None:
        return
    wanted = polkit.rule(settings, agent_unit.user(), origin)
    if units.is_ours(present.decode(errors="replace")) and not units.same(present.decode(errors="replace"), wanted):
        write = partial(atomic_files.replace, polkit.FILE, wanted.encode(), mode=polkit.MODE)
        yield Repair("agentctl polkit --write", write)


def files(settings: Settings, file: Path | None) -> Iterator[Repair]:
    """Remove other users' access to the trusted files, and create missing folders."""
    yield from _modes(settings, file)
    yield from _folders(settings)


def _modes(settings: Settings, file: Path | None) -> Iterator[Repair]:
    for path, private in dict(startup_checks.trusted_files(settings, file)).items():
        try:
            found = path.lstat()
        except OSError:
            continue
        limit = trusted_file.OTHERS_MAY_USE if private else trusted_file.OTHERS_MAY_WRITE
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & limit:
            wanted = stat.S_IMODE(found.st_mode) & ~limit
            yield Repair(f"chmod {wanted:o} {path}", partial(_set_mode, path, wanted))


def _set_mode(path: Path, mode: int) -> None:
    # By descriptor, so that a link put in the file's place is not followed.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _folders(settings: Settings) -> Iterator[Repair]:
    wanted = [(path, FOLDER) for _, path in state.folders(settings)]
    wanted += [(Path(each.removeprefix("unix:")).parent, SOCKET_FOLDER) for each in _sockets(settings)]
    owner = _owner()
    for path, mode in dict(wanted).items():
        # Never create a folder in place of an unmounted file system: its data is missing, not the folder.
        if not os.path.lexists(path) and path.parent.is_dir() and str(path) not in _mount_points():
            command = f"install -d -o {owner.pw_name} -g {owner.pw_gid} -m {mode:04o} {path}"
            yield Repair(command, partial(_make_folder, path, mode, owner))


def _sockets(settings: Settings) -> Iterator[str]:
    yield from (each for each in settings.api.bind if addresses.host_of(each) is None)


def _owner() -> pwd.struct_passwd:
    """The owner of new folders: for root the user of the agent's unit, if it exists on this host."""
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam(agent_unit.user())
        except KeyError:
            pass
    return pwd.getpwuid(os.geteuid())


def _make_folder(path: Path, mode: int, owner: pwd.struct_passwd) -> None:
    path.mkdir(0o700)
    if os.geteuid() != owner.pw_uid:
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    path.chmod(mode)


def _mount_points() -> set[str]:
    lines = (atomic_files.read(FSTAB) or b"").decode(errors="replace").splitlines()
    return {words[1] for line in lines if len(words := line.split()) > 1 and not line.lstrip().startswith("#")}
