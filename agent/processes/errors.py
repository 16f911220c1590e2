"""Errors of commands, and their messages."""

from __future__ import annotations

import errno
import os


class CommandError(Exception):
    """A command failed."""


class CommandNotStarted(CommandError):
    """The program could not be started; the message has its name and the reason."""


def start_failure(program: str, cwd: str | os.PathLike[str] | None, error: Exception) -> str:
    """The text after the program's name in the message about a program that could not be started."""
    if not isinstance(error, OSError):
        return f"could not be started: {error}"
    if cwd is not None and not os.path.isdir(cwd):
        return f"could not be started: there is no directory {os.fspath(cwd)}"
    if error.errno == errno.ENOENT:
        there = "/" in program and os.path.exists(program)
        return "names an interpreter that was not found" if there else "was not found"
    if error.errno in (errno.EACCES, errno.ENOEXEC):
        return "is not executable"
    return f"could not be started: {error.strerror}"
