"""Child processes for tests: independent Python scripts, and queries of their state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.processes.process import Process
from tests.agent_process import CHECKOUT, eventually

Popen = subprocess.Popen[str]


def python(script: str, *args: object, env: Mapping[str, str] | None = None) -> Popen:
    """A Python of its own that can import the agent."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        cwd=CHECKOUT, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip


@contextmanager
def killed_at_the_end(process: Popen) -> Iterator[Popen]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def pid_in(file: Path) -> int:
    """The pid that a process writes to this file, awaited."""
    return int(eventually(lambda: file.exists() and file.read_text().strip(), f"a pid in {file}"))


def process_in(file: Path) -> Process:
    process = Process.of(pid_in(file))
    assert process is not None
    return process


@contextmanager
def ended_at_the_end(*processes: Process) -> Iterator[None]:
    """End all of these, however the test ends."""
    try:
        yield
    finally:
        for process in processes:
            with suppress(PermissionError):
                process.signal(signal.SIGKILL)


def open_files() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if exists(fd)}


def exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")
