"""The file in which Redis keeps its users, changed without CONFIG REWRITE and ACL SAVE.

Both write what the running server has: they would lose changes that an operator has made in the file and not applied.
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
    except Usage:  # a file of root in a folder of the server's user
        _as_owner(file, [*SED, "--file=-", "--", file], f"$a\\\n{line}\n")


def remove(file: str, user: str) -> None:
    """Remove the lines of a user, whether setup or Redis has written them. Raises `Usage`."""
    if has(file, user):
        _as_owner(file, [*SED, rf"/^user[[:space:]]+{re.escape(user)}([[:space:]]|$)/d", "--", file], "")


def has(file: str, user: str) -> bool:
    """Whether it has a line of the user."""
    lines = Path(file).read_text(errors="replace").splitlines()
    return any(line.split(maxsplit=2)[:2] == ["user", user] for line in lines)


def _as_owner(file: str, argv: list[str], text: str) -> None:
    """The folder may be that user's, who could lead a write of root elsewhere."""
    owner = drop_privileges.owner(Path(file))
    programs.run(["runuser", "-u", owner, "--", *argv] if owner else argv, input=text)
