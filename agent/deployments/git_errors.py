"""What git and ssh print when they fail, as one sentence without any password."""

import re
from pathlib import Path

WHO = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL, or a token in place of the user."""
OF_SSH = "fatal: Could not read from remote repository."
"""What git says of all that ssh fails at; why it failed ssh has said before."""
CAUSES = ("Load key ", "Warning: Identity file ", "No ", "Host key for ")
"""How lines of ssh begin that say more than its last one."""
UNKNOWN_HOST = "Host key verification failed."
"""What ssh says alone of a host that it does not know, where it would have asked the user."""
OWNED = "let it be the agent's, or named by git config --system --add safe.directory"
UNREADABLE_KEY = ("error in libcrypto", "invalid format")
"""What ssh says of a key that it cannot parse, by its version."""
LONGEST_KEY = 65536


def last_words(output: str) -> str:
    """The line that says why git failed, without any password; empty where git printed nothing."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    said = (fatal or lines[-1:] or [""])[0]
    why = WHO.sub("", _words_of_ssh(lines[: lines.index(said)]) if said == OF_SSH else said)
    return f"{why}; {OWNED}" if "dubious ownership" in why else why


def about_key(words: str, key: Path | None) -> str:
    """The words, with what is wrong with the line ends of a private key that ssh could not parse."""
    if key is None or not any(each in words for each in UNREADABLE_KEY):
        return words
    try:
        with key.open("rb") as file:
            content = file.read(LONGEST_KEY)
    except OSError:
        return words
    if b"\r" in content:
        return f"{words}; the lines of {key} end with CRLF: they must end with LF"
    if content and not content.endswith(b"\n"):
        return f"{words}; the last line of {key} has no line end: add one"
    return words


def _words_of_ssh(lines: list[str]) -> str:
    """Why ssh failed: its last line, and the one that says how it came to that."""
    if not lines:
        return OF_SSH
    if lines == [UNKNOWN_HOST]:
        return "Host key verification failed: ssh does not know this host"
    causes = [line for line in lines[:-1] if line.startswith(CAUSES)]
    return "; ".join(line.rstrip(".") for line in (*causes, lines[-1]))
