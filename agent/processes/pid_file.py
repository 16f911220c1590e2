"""What a pid file names: a living process, and the group that it is in."""

import errno
import os
import stat
from pathlib import Path

from agent.processes.process import GONE, Group, Process, boot_id, stat_of

LONGEST = 64
"""Bytes of the file that are read: a pid and what little may follow it."""
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link would lead to another user's pid file, and a read of a pipe would block."""


class PidFileInvalid(Exception):
    """What the file names is nothing to send signals to; the message is a sentence that says why."""


class NotRunning(PidFileInvalid):
    """There is no such file, or no process of that pid."""


def process_in(path: Path) -> Process:
    """The living process whose pid is the first word of the file. Raises `PidFileInvalid`."""
    try:
        with open(os.open(path, FILE), "rb") as file:
            written_by = os.fstat(file.fileno())
            words = file.read(LONGEST).split() if stat.S_ISREG(written_by.st_mode) else []
    except FileNotFoundError:
        raise NotRunning(f"there is no {path}") from None
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise PidFileInvalid(f"{path} cannot be read: {why}") from None
    if not words or not words[0].isdigit() or not 0 < int(words[0]) < 2**31:
        raise PidFileInvalid(f"{path} contains no pid")
    pid = int(words[0])
    process = Process.of(pid)
    if process is None or not process.alive:
        raise NotRunning(f"{path} contains pid {pid}, which is not running")
    if not _is_trusted(written_by, pid):
        raise PidFileInvalid(f"users other than root and the owner of pid {pid} may write {path}")
    return process


def group_of(process: Process) -> Group:
    """The whole group that it is in. Raises `PidFileInvalid` for our own and that of init."""
    its, ours, init = stat_of(process.pid), stat_of(os.getpid()), stat_of(1)
    if its is None or its.started != process.started:
        raise NotRunning(f"pid {process.pid} has ended")
    if ours is not None and its.group == ours.group:
        raise PidFileInvalid(f"pid {process.pid} is in the agent's own process group")
    if its.group <= 1 or (init is not None and its.group == init.group):
        raise PidFileInvalid(f"pid {process.pid} is in the process group of init")
    # A leader that has ended leaves its number to the group.
    return Group(Process.of(its.group) or Process(its.group, 0, boot_id()))


def _is_trusted(file: os.stat_result, pid: int) -> bool:
    """Who may write the file could else have us signal any process at all."""
    its_user = file.st_uid in (0, os.geteuid(), _runs_as(pid, "Uid:"))
    its_group = not file.st_mode & 0o020 or file.st_gid in (0, os.getegid(), _runs_as(pid, "Gid:"))
    return its_user and its_group and not file.st_mode & 0o002


def _runs_as(pid: int, whom: str) -> int | None:
    """The user or group it runs as; the owner of its directory in /proc is root for many a daemon."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (*GONE, PermissionError):
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith(whom)), None)
