"""Summarizes error output of git and ssh in one sentence without passwords."""

import re
from pathlib import Path

USERINFO = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL, or a token in place of the user."""
SSH_FAILED = "fatal: Could not read from remote repository."
"""git's message for every failure of ssh. The cause is in the lines of ssh above it."""
CAUSES = ("Load key ", "Warning: Identity file ", "No ", "Host key for ")
"""Beginnings of lines of ssh that name a cause; the last line of ssh does not."""
UNKNOWN_HOST = "Host key verification failed."
"""The only line of ssh for an unknown host key; without BatchMode it would prompt."""
OWNED = "let the agent's user own it, or add it with git config --system --add safe.directory"
UNREADABLE_KEY = ("error in libcrypto", "invalid format")
"""ssh's messages about a key that it cannot parse; they depend on its version."""
LONGEST_KEY = 65536
OTHER_FORMAT = re.compile(r"mismatched algorithms: client \w+; server (sha1|sha256)\b")
"""git's message about a repository whose hashes have another format than those of the mirror."""


def last_words(output: str) -> str:
    """The line with the cause of git's failure, without passwords; empty if git printed nothing."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    line = (fatal or lines[-1:] or [""])[0]
    why = USERINFO.sub("", _ssh_error(lines[: lines.index(line)]) if line == SSH_FAILED else line)
    return f"{why}; {OWNED}" if "dubious ownership" in why else why


def object_format(message: str) -> str | None:
    """The format of the hashes of the repository, if git failed because the mirror has the other one."""
    found = OTHER_FORMAT.search(message)
    return found[1] if found else None


def about_key(message: str, key: Path | None) -> str:
    """The message; if ssh could not parse the private key because of its line ends, with that cause."""
    if key is None or not any(each in message for each in UNREADABLE_KEY):
        return message
    try:
        with key.open("rb") as file:
            content = file.read(LONGEST_KEY)
    except OSError:
        return message
    if b"\r" in content:
        return f"{message}; the lines of {key} end with CRLF: they must end with LF"
    if content and not content.endswith(b"\n"):
        return f"{message}; the last line of {key} has no line end: add one"
    return message


def _ssh_error(lines: list[str]) -> str:
    """The cause of ssh's failure: the lines that name a cause, and its last line."""
    if not lines:
        return SSH_FAILED
    if lines == [UNKNOWN_HOST]:
        return "Host key verification failed: ssh does not know this host"
    causes = [line for line in lines[:-1] if line.startswith(CAUSES)]
    return "; ".join(line.rstrip(".") for line in (*causes, lines[-1]))
