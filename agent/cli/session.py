"""What a command to an agent has at hand: which agent, how to reach it, and how to print."""

import os
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from agent.cli.exits import Usage, readable
from agent.client import Client

FORMATS = ("table", "tsv", "json", "jsonl", "yaml", "name")
SOCKET = "/run/agent/agent.sock"
DEFAULT_URL = "http://127.0.0.1:8000"
CALL_TIMEOUT, PATIENCE = 30.0, 600.0
"""Seconds that one call may take, and an agent to start again, unless --timeout says."""
PLACES = (
    "--url, -c CONTEXT, $AGENT_URL (with $AGENT_TOKEN_FILE), the context in use, "
    f"unix:{SOCKET} if it exists, {DEFAULT_URL}"
)
"""Where the agent is looked for, in this order."""


class CliSession:
    """One call of agentctl."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._began = time.monotonic()

    @property
    def format(self) -> str:
        """One of `FORMATS`."""
        return str(self._options.get("output", "table"))

    @property
    def timeout(self) -> float | None:
        """Seconds that a wait may take; None for no end."""
        return self._options.get("timeout")

    def seconds_left(self) -> float | None:
        """Of `timeout`."""
        return None if self.timeout is None else max(0.0, self._began + self.timeout - time.monotonic())

    @cached_property
    def client(self) -> Client:
        """Of the agent that is meant, or of its file. Raises `Usage`, `Missing`, `OSError`."""
        if db := self._options.get("db"):
            from agent.cli.offline import Offline

            return Offline(db)
        where = self._where()
        token = readable(where["token_file"], "the token file").strip() if where.get("token_file") else None
        tls = {"ca": where.get("ca"), "certificate": where.get("certificate"), "key": where.get("key_file")}
        # One second at least: `wait --timeout 0` looks once.
        timeout, patience = (CALL_TIMEOUT, PATIENCE) if self.timeout is None else (max(1.0, self.timeout), self.timeout)
        client = Client(where["url"], token, tls, timeout, patience)
        client.trace = say if self._options.get("debug") else client.trace
        return client

    def close(self) -> None:
        """Remove what was copied for the client."""
        if self._options.get("db") and "client" in vars(self):
            self.client.close()  # type: ignore[attr-defined]

    def _where(self) -> dict[str, str]:
        """Address and credentials; what the command line says completes or replaces those of a context."""
        named = {
            name: self._options[name]
            for name in ("token_file", "ca", "certificate", "key_file")
            if name in self._options
        }
        if url := self._options.get("url"):
            if "context" in self._options:
                raise Usage("give --url or --context, not both")
            return _of_environment() | {"url": url} | named
        if name := self._options.get("context"):
            from agent.cli import contexts

            return contexts.read().get(name) | named
        if url := os.environ.get("AGENT_URL"):
            return _of_environment() | {"url": url} | named
        from agent.cli import contexts

        kept = contexts.read()
        if kept.current is None:
            return agent_of_this_host() | named
        found = kept.get(kept.current)
        if os.path.exists(SOCKET):
            say(f"context {kept.current}: {found['url']}; the agent of this host: -c {contexts.DEFAULT}")
        return found | named


def agent_of_this_host() -> dict[str, str]:
    """Address and credentials where nothing names another agent."""
    return _of_environment() | {"url": f"unix:{SOCKET}" if os.path.exists(SOCKET) else DEFAULT_URL}


def _of_environment() -> dict[str, str]:
    file = os.environ.get("AGENT_TOKEN_FILE")
    return {"token_file": file} if file else {}


def say(line: str) -> None:
    """Print a line of prose."""
    print(line, file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """What a person at the terminal answers."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
