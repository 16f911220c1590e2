"""Starts a command as a child of a process with threads."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from agent.processes.errors import CommandNotStarted, start_failure


def popen(
    argv: Sequence[str],
    *,
    stdin: bool,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None = None,
    umask: int = -1,
) -> subprocess.Popen[bytes]:
    """The command in its own process group, with pipes; `umask`: the agent's if negative. Raises CommandNotStarted."""
    if not argv:
        raise CommandNotStarted("no command was given")
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            process_group=0,
            umask=umask,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise CommandNotStarted(f"{argv[0]} {start_failure(argv[0], cwd, error)}") from error
