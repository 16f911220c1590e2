"""The unit of this host's agent."""

import shutil
import subprocess

NAME = "agent.service"
DEFAULT_USER = "agent"
SECONDS = 10


def user() -> str:
    """The user of the unit; the user of the shipped unit if systemd has no such unit."""
    if shutil.which("systemctl") is None:
        return DEFAULT_USER
    command = ["systemctl", "show", "--property=User", "--value", "--", NAME]
    found = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    return found.stdout.strip() or DEFAULT_USER
