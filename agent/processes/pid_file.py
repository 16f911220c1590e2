"""Reads pid files: the running process that one names, and its process group."""

import errno
import os
import stat
from pathlib import Path

from agent.processes.process import GONE, Group, Process, boot_id, stat_of

LONGEST = 64
"""Maximum bytes read: a pid and short text after it."""
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link could point to another user's pid file, and reading a pipe would block."""


class PidFileInvalid(Exception):
    """The file names no process that may get signals; the message is a sentence with the reason."""


class NotRunning(PidFileInvalid):
    """The file or the process does not exist."""


def process_in(path: Path) -> Process:
    """The running process whose pid is the first word of the file. Raises `PidFileInvalid`."""
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
    """The process group of a process. Raises `PidFileInvalid` for the groups of the agent and of init."""
    its, ours, init = stat_of(process.pid), stat_of(os.getpid()), stat_of(1)
    if its is None or its.started != process.started:
        raise NotRunning(f"pid {process.pid} has ended")
    if ours is not None and its.group == ours.group:
        raise PidFileInvalid(f"pid {process.pid} is in the agent's own process group")
    if its.group <= 1 or (init is not None and its.group == init.group):
        raise PidFileInvalid(f"pid {process.pid} is in the process group of init")
    # The group keeps the number of a leader that has ended.
    return Group(Process.of(its.group) or Process(its.group, 0, boot_id()))


def _is_trusted(file: os.stat_result, pid: int) -> bool:
    """Whether only root, the agent's user or the user and group of the process may write the file.

    Any other writer could make the agent signal any process.
    """
    its_user = file.st_uid in (0, os.geteuid(), _runs_as(pid, "Uid:"))
    its_group = not file.st_mode & 0o020 or file.st_gid in (0, os.getegid(), _runs_as(pid, "Gid:"))
    return its_user and its_group and not file.st_mode & 0o002


def _runs_as(pid: int, whom: str) -> int | None:
    """The user or group of the process. Not the owner of its folder in /proc, which is root for many daemons."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (*GONE, PermissionError):
        return None
    return next((int(line.split()[2]) for line in lines if line.startswith(whom)), None)
