"""Runs one command on several agents, with a limit of parallel runs and of failures."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from agent.cli import exits
from agent.cli.session import say

OURS = {"--on", "--serial", "--max-failures", "-c", "--context", "--url"}
"""Options that name agents, each with a value: not passed on."""


def run(argv: Sequence[str], options: Mapping[str, Any]) -> int:
    """Run the command on each agent of `--on`; returns the highest exit status.

    The name of its agent precedes each line. After more than `--max-failures` failures no further agent is called.
    """
    names = [name for name in options["on"].split(",") if name]
    command, fleet = without_ours(argv), _Fleet(options.get("max_failures", 0))
    with ThreadPoolExecutor(options.get("serial", 1)) as pool:
        statuses = list(pool.map(lambda name: fleet.run(name, command), names))
    if skipped := [name for name, status in zip(names, statuses, strict=True) if status is None]:
        say(f"not run after {fleet.failures} failed: {', '.join(skipped)}")
    return max((status for status in statuses if status is not None), default=exits.DONE)


def without_ours(argv: Sequence[str]) -> list[str]:
    """The command line without the options that name agents."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in OURS:
            next(words, None)
        elif word.partition("=")[0] not in OURS:
            kept.append(word)
    return kept


class _Fleet:
    """Counts the agents on which the command failed."""

    def __init__(self, max_failures: int) -> None:
        self.failures = 0
        self._limit = max_failures
        self._printing = Lock()

    def run(self, name: str, command: Sequence[str]) -> int | None:
        """The exit status; None if the command was not run on this agent."""
        if self.failures > self._limit:
            return None
        where = ["--url", name] if ":" in name else ["-c", name]
        words = [sys.executable, "-P", "-m", "agent.cli", *where, *command]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with subprocess.Popen(
            words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            with ThreadPoolExecutor(1) as beside:
                beside.submit(self._copied, name, process.stderr, sys.stderr)
                self._copied(name, process.stdout, sys.stdout)
            status = process.wait()
        if status:
            self.failures += 1
        return status

    def _copied(self, name: str, lines: Any, to: Any) -> None:
        for line in lines:
            with self._printing:
                print(f"{name}: {line}", end="", file=to, flush=True)
