"""Commands on the files of this host run as the owner of the configuration, never with the rights of root."""

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
    """Before the command: as root, continue as the owner of the configuration. It returns 0 unless it says otherwise.

    The configuration may be agent.toml of a working directory that is another user's. The command raises
    `ConfigError` where others may write it.
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
    """The environment, with this file as the configuration if one was named."""
    return dict(os.environ) | ({"AGENT_CONFIG": str(Path(file))} if file else {})


def started_by() -> str:
    """The user of this host who gave the command."""
    uid = drop_privileges.STARTED_BY
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {name}" if behind and uid == 0 else name
