"""Runs commands on this host's files as the owner of the configuration instead of root."""

import os
import pwd
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from agent import config
from agent.auth import trusted_file
from agent.cli import exits
from agent.util import drop_privileges


def as_owner(function: Callable[..., Any]) -> Callable[..., int]:
    """Decorate a command: if root calls it, switch to the owner of the configuration first. None becomes status 0.

    The configuration may be agent.toml in a working directory of another user. The command raises `ConfigError` if
    other users may write it.
    """

    @wraps(function)
    def run(*args: Any, **more: Any) -> int:
        if os.geteuid() == 0 and (file := config.file()) is not None:
            drop_privileges.become(file)
            trusted_file.check_file(file)
        found = function(*args, **more)
        return found if isinstance(found, int) else exits.DONE

    return run


def environ(file: str | None) -> dict[str, str]:
    """The environment, with `file` as the configuration if it is given."""
    return dict(os.environ) | ({"AGENT_CONFIG": str(Path(file))} if file else {})


def started_by() -> str:
    """The user of this host who ran the command, such as "you as root" with sudo."""
    uid = drop_privileges.STARTED_BY
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {name}" if behind and uid == 0 else name
