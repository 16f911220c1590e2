"""The checks of the refs and the repository that are passed to git."""

import re
from typing import Any

from agent.config.mistakes import UNSHOWN, Mistake, without_credentials
from agent.config.validators import text

REF_LETTERS = r"[^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]{1,1000}"
REPOSITORY = (
    r"(https?|ssh|git)://((?P<user>[^@/\s]*)@)?[A-Za-z0-9\[][^@/\s]*(/\S*)?|file:///\S*|/.*"
    r"|([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!:|//)\S+"
)


def git_ref(value: Any) -> str:
    """A branch, a tag or a commit, in any characters that git allows; with a leading dash git would read an option."""
    if not _is_ref(value) or value.startswith("-"):
        raise Mistake("a branch, a tag or a commit", value)
    return str(value)


def whole_ref(value: Any) -> str:
    """The whole name of a branch or a tag."""
    if not _is_ref(value) or not value.startswith(("refs/heads/", "refs/tags/")):
        raise Mistake("the whole name of a branch or a tag, such as refs/heads/main", value)
    return str(value)


def _is_ref(value: Any) -> bool:
    """Whether git allows the name: the rules of `git check-ref-format --allow-onelevel`."""
    if not isinstance(value, str) or not re.fullmatch(REF_LETTERS, value):
        return False
    if value == "@" or value.endswith(".") or ".." in value or "@{" in value:
        return False
    return all(part and not part.startswith(".") and not part.endswith(".lock") for part in value.split("/"))


def repository(value: Any) -> str:
    """The repository that git fetches from. Refuses options of git, remote helpers and passwords."""
    found = re.fullmatch(REPOSITORY, text(value))
    if found is None:
        expected = "a URL of http, https, ssh, git or file, user@host:path, or an absolute path"
        raise Mistake(expected, without_credentials(value))
    if ":" in (found["user"] or "") or (found["user"] and value.startswith("http")):
        # Every message that names the repository would show a password, or a token in place of the user.
        raise Mistake("a URL without user and password; write them into the file of the option credentials", UNSHOWN)
    return str(value)
