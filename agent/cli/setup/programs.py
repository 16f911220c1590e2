"""Programs of the system that setup runs: their output, or one sentence on why they failed."""

import subprocess
from collections.abc import Mapping, Sequence

from agent.cli.exits import Usage

SECONDS = 120
"""That one program may take; the start of the agent's unit is one."""


def run(
    argv: Sequence[str],
    *,
    input: str | None = None,
    environ: Mapping[str, str] | None = None,
    umask: int = -1,
    name: str = "",
) -> str:
    """Run it to its end in the root folder. Raises `Usage`; `name` stands for the command line there."""
    try:
        done = subprocess.run(
            argv, input=input or "", env=environ, umask=umask, capture_output=True, text=True, timeout=SECONDS,
            cwd="/", check=False,
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
        done = subprocess.run(argv, capture_output=True, timeout=SECONDS, cwd="/", check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Usage(f"{' '.join(argv)}: {error}") from None
    return done.returncode == 0
