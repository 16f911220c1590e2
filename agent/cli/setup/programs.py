"""Runs programs of the system for setup: returns their output or raises the reason of the failure."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from agent.cli.exits import Usage

SECONDS = 120
"""Timeout of one program, including the start of the agent's unit."""

OF_ADMINISTRATORS = ("MYSQL_PWD", "REDISCLI_AUTH", "MONGODB_ADMIN_URL")
"""Variables not passed to programs: some run as the agent's user, who could read the environment."""


def environ(**more: str) -> dict[str, str]:
    """The environment for programs that setup runs."""
    return {name: value for name, value in os.environ.items() if name not in OF_ADMINISTRATORS} | more


def run(
    argv: Sequence[str],
    *,
    input: str | None = None,
    more: Mapping[str, str] | None = None,
    umask: int = -1,
    name: str = "",
) -> str:
    """Run a program in the root folder, with `more` variables; returns its output.

    Raises `Usage`, whose message has `name` instead of the command line if it is given.
    """
    try:
        done = subprocess.run(
            argv, input=input or "", env=environ(**more or {}), umask=umask, capture_output=True, text=True,
            timeout=SECONDS, cwd="/", check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{name or ' '.join(argv)}: {error}") from None
    if done.returncode:
        output = " ".join((done.stderr or done.stdout).split())
        raise Usage(f"{name or ' '.join(argv)} failed with status {done.returncode}: {output}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the program ends with status 0. Raises `Usage` if it cannot be run."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=SECONDS, cwd="/", env=environ(), check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{' '.join(argv)}: {error}") from None
    return done.returncode == 0
