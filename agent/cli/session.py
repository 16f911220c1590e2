"""The session of a command: the client of the chosen agent, the output format and the timeout."""

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
"""Default timeout of one call, and of the retries while an agent restarts, in seconds."""
PLACES = (
    "--url, -c CONTEXT, $AGENT_URL (with $AGENT_TOKEN_FILE), the context in use, "
    f"unix:{SOCKET} if it exists, {DEFAULT_URL}"
)
"""The sources of the agent's address, in order of precedence."""


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
        """Maximum seconds of a wait; None for no limit."""
        return self._options.get("timeout")

    def seconds_left(self) -> float | None:
        """The rest of `timeout`; None for no limit."""
        return None if self.timeout is None else max(0.0, self._began + self.timeout - time.monotonic())

    @cached_property
    def client(self) -> Client:
        """The client of the chosen agent, or of its database file. Raises `Usage`, `Missing`, `OSError`."""
        if db := self._options.get("db"):
            from agent.cli.offline import Offline

            return Offline(db)
        where = self._address_and_credentials()
        token = readable(where["token_file"], "the token file").strip() if where.get("token_file") else None
        tls = {"ca": where.get("ca"), "certificate": where.get("certificate"), "key": where.get("key_file")}
        # At least one second, so that `wait --timeout 0` can look once.
        timeout, patience = (CALL_TIMEOUT, PATIENCE) if self.timeout is None else (max(1.0, self.timeout), self.timeout)
        client = Client(where["url"], token, tls, timeout, patience)
        client.trace = say if self._options.get("debug") else client.trace
        return client

    def close(self) -> None:
        """Remove the private copy of a database file, if there is one."""
        if self._options.get("db") and "client" in vars(self):
            self.client.close()  # type: ignore[attr-defined]

    def _address_and_credentials(self) -> dict[str, str]:
        """The address and credentials; the command line takes precedence over a context."""
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
    """The default address and credentials, if no other agent is named."""
    return _of_environment() | {"url": f"unix:{SOCKET}" if os.path.exists(SOCKET) else DEFAULT_URL}


def _of_environment() -> dict[str, str]:
    file = os.environ.get("AGENT_TOKEN_FILE")
    return {"token_file": file} if file else {}


def say(line: str) -> None:
    """Print a message on standard error."""
    print(line, file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """Ask on the terminal and return the answer."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
