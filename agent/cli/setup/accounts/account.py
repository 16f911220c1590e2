"""What setup needs to know of an account: how the agent logs in, and how the account is made."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.cli.setup.change import Change
from agent.util import atomic_files

PASSWORD_FILE = Path("/etc/agent/datastore.password")


@dataclass(frozen=True)
class Account:
    """`options` are those of `[datastore]`; `changes` make the account, none where the server's own user is used.

    `password` is None where the operating system's user is the login.
    """

    options: Mapping[str, str]
    changes: tuple[Change, ...] = ()
    password: str | None = field(default=None, repr=False)


def password() -> str:
    """The one that setup wrote before, else a new one."""
    present = atomic_files.read(PASSWORD_FILE)
    return present.decode().strip() if present else secrets.token_urlsafe(32)
