"""Programs of the system that setup runs: their output, or one sentence on why they failed."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from agent.cli.exits import Usage

SECONDS = 120
"""That one program may take; the start of the agent's unit is one."""

OF_ADMINISTRATORS = ("MYSQL_PWD", "REDISCLI_AUTH", "MONGODB_ADMIN_URL")
"""Variables that setup alone reads: some programs run as the agent's user, who could read them there."""


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
    """Run it to its end in the root folder, with `more` variables. Raises `Usage`; `name` stands for the command line
    there."""
    try:
        done = subprocess.run(
            argv, input=input or "", env=environ(**more or {}), umask=umask, capture_output=True, text=True,
            timeout=SECONDS, cwd="/", check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{name or ' '.join(argv)}: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Usage(f"{name or ' '.join(argv)} failed with status {done.returncode}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether it ends with status 0. Raises `Usage` where it cannot be run."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=SECONDS, cwd="/", env=environ(), check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{' '.join(argv)}: {error}") from None
    return done.returncode == 0
