"""Edits the file of Redis's users, without CONFIG REWRITE and ACL SAVE.

Both write the state of the running server, and would lose an operator's changes in the file that are not applied yet.
"""

import re
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup import programs
from agent.util import drop_privileges

SED = ("sed", "--in-place", "--follow-symlinks", "--regexp-extended")


def add(file: str, line: str) -> None:
    """Append the line of a user. Raises `Usage`."""
    before = Path(file).read_text(errors="replace")
    first = "" if before.endswith("\n") or not before else "\n"
    try:
        _as_owner(file, ["tee", "--append", "--", file], f"{first}{line}\n")
    except Usage:  # a file of root in a folder of the server's user, which only sed can replace
        _as_owner(file, [*SED, "--file=-", "--", file], f"$a\\\n{line}\n")


def remove(file: str, user: str) -> None:
    """Remove the lines of a user, written by setup or by Redis. Raises `Usage`."""
    if has(file, user):
        _as_owner(file, [*SED, rf"/^user[[:space:]]+{re.escape(user)}([[:space:]]|$)/d", "--", file], "")


def has(file: str, user: str) -> bool:
    """Whether the file has a line of the user."""
    lines = Path(file).read_text(errors="replace").splitlines()
    return any(line.split(maxsplit=2)[:2] == ["user", user] for line in lines)


def _as_owner(file: str, argv: list[str], text: str) -> None:
    """Run a program as the owner of the file or folder, who could redirect a write of root by a link."""
    owner = drop_privileges.owner(Path(file))
    programs.run(["runuser", "-u", owner, "--", *argv] if owner else argv, input=text)
