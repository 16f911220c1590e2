"""The agent's account in a datastore: how the agent logs in, and the changes that create it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.cli.setup.change import Change
from agent.util import atomic_files

PASSWORD_FILE = Path("/etc/agent/datastore.password")


@dataclass(frozen=True)
class Account:
    """`options`: of `[datastore]`. `changes`: create the account; empty if the agent uses the server's own user.

    `password`: None if the login is the user of the operating system.
    """

    options: Mapping[str, str]
    changes: tuple[Change, ...] = ()
    password: str | None = field(default=None, repr=False)


def password() -> str:
    """The password that an earlier run wrote, else a new one."""
    present = atomic_files.read(PASSWORD_FILE)
    return present.decode().strip() if present else secrets.token_urlsafe(32)
