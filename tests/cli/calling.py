"""Calls of agentctl inside this process, or in a child process where the process itself is tested."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from agent import cli
from tests.agent_process import CHECKOUT, AgentProcess

COMMAND = (sys.executable, "-m", "agent.cli")


@dataclass(frozen=True)
class Ended:
    """A finished call."""

    status: int
    stdout: str
    stderr: str


def url_of(agent: AgentProcess) -> str:
    return f"unix:{agent.socket}" if agent.socket else f"http://127.0.0.1:{agent.port}"


def environment(agent: AgentProcess | str | None, **more: str) -> dict[str, str]:
    """The environment of a user without a configuration or contexts; `agent` may be an address.

    Python buffers output into a pipe, whatever the shell of the tests sets.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENT_", "PYTHONUNBUFFERED"))}
    where = {} if agent is None else {"AGENT_URL": agent if isinstance(agent, str) else url_of(agent)}
    return kept | {"PYTHONPATH": str(CHECKOUT), "AGENT_CONTEXTS": "/nonexistent/contexts.toml"} | where | more


class Typed(io.StringIO):
    """A terminal with this input."""

    def isatty(self) -> bool:
        return True


def call(agent: AgentProcess | str | None, *words: str, stdin: str | Typed = "", **env: str) -> Ended:
    """The command in this process, without a terminal unless `stdin` is one."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    entered = io.StringIO(stdin) if isinstance(stdin, str) else stdin
    patched = patch.dict(os.environ, environment(agent, **env), clear=True)
    with patched, patch("sys.stdin", entered), redirect_stdout(out), redirect_stderr(err):
        status = cli.main(words)
    return Ended(status, _written(out), _written(err))


def run(agent: AgentProcess | str | None, *words: str, stdin: str = "", cwd: Path | None = None, **env: str) -> Ended:
    """The command as a process, without a terminal."""
    ended = subprocess.run(
        [*COMMAND, *words],
        env=environment(agent, **env),
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def started(agent: AgentProcess | str, *words: str) -> subprocess.Popen[str]:
    """The command as a process that is still running."""
    return subprocess.Popen(
        [*COMMAND, *words],
        env=environment(agent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode()
