"""The checks of option values: each returns the value in its final form or raises `Mistake`.

Plain functions, no fields of marshmallow: importing it takes as long as importing the whole configuration, and commands
and jobs that read the configuration do not need it.
"""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.config.mistakes import Mistake, collected

LONGEST = 1e9
"""Maximum of a number of seconds, some thirty years."""

CREDENTIALS = "/run/credentials/agent.service"
"""systemd's folder of the credentials of the agent's unit; for a check of the configuration outside of the unit."""

UNIT = r"[A-Za-z0-9:_][A-Za-z0-9:_.\\@-]*\.(service|socket|timer|target|path|slice|scope|mount|swap|device)"
TEMPLATE = r"[A-Za-z0-9:_][A-Za-z0-9:_.\\-]*@\.service"

CREDENTIAL_HEADERS = re.compile(
    "auth|credential|token|secret|password|passwd|passphrase|cookie|session|signature|jwt|assertion|oidc|dpop|api-?key"
    "|(?:access|account|functions?|subscription|shared|private|service)-?key|^http2-settings$"
)
"""Names of headers that may hold credentials: for the agent, a proxy or another service."""

Check = Callable[[Any], Any]


def expecting(expected: str, holds: Callable[[Any], Any], form: Callable[[Any], Any] = lambda value: value) -> Check:
    """The check that `holds` is true of a value; `form` converts the value to its final form."""

    def check(value: Any) -> Any:
        if not holds(value):
            raise Mistake(expected, value)
        return form(value)

    return check


def matching(pattern: str, expected: str) -> Check:
    """The check that the pattern matches the whole string."""
    return expecting(expected, lambda value: isinstance(value, str) and re.fullmatch(pattern, value))


def one_of(*allowed: str) -> Check:
    return expecting("one of " + ", ".join(map(json.dumps, allowed)), lambda value: value in allowed)


def list_of(check: Check, expected: str) -> Check:
    """The check of each member of a list; all mistakes are raised at once."""

    def check_each(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Mistake(expected, value)
        return tuple(_each(check, {str(index): each for index, each in enumerate(value)}).values())

    return check_each


def table_of(check: Check, expected: str = "a table") -> Check:
    """The check of each value of a table; all mistakes are raised at once."""

    def check_each(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Mistake(expected, value)
        return _each(check, value)

    return check_each


def _each(check: Check, values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    with collected() as collect:
        for key, value in values.items():
            with collect(key):
                found[key] = check(value)
    return found


# Truth and numbers


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and 0 < value < LONGEST


truth = expecting("true or false", lambda value: isinstance(value, bool))
positive_integer = expecting("a positive integer", lambda value: _is_integer(value) and value > 0)
natural = expecting("an integer of 0 or more", lambda value: _is_integer(value) and value >= 0)
positive_number = expecting("a positive number", _is_positive, float)


def naturals(value: Any) -> Any:
    expected = "a list of integers of 0 or more"
    if not value:
        raise Mistake(expected, value)
    return list_of(natural, expected)(value)


def not_negative(value: Any) -> Any:
    return 0.0 if value == 0 and not isinstance(value, bool) else positive_number(value)


# Texts

text = expecting("a text", lambda value: isinstance(value, str) and value.strip())
texts = expecting(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(each, str) and each for each in value),
    tuple,
)
name = matching("[A-Za-z0-9][A-Za-z0-9._/-]*", "a name of letters, digits, dots, dashes, slashes and underscores")
"""The name of a table, chosen by the operator: it becomes part of a kind, and so of a URL."""


def duration_seconds(text: str) -> float:
    """Seconds of a text such as 90s, 15m, 24h or 400d. Raises `ValueError`."""
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if not found or not int(found[1]):
        raise ValueError(text)
    return float(int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]])


def duration(value: Any) -> str:
    """A time span as a number and a unit."""
    try:
        if duration_seconds(text(value)) < LONGEST:
            return str(value)
    except ValueError:
        pass
    raise Mistake('a time span such as "90s", "24h" or "400d"', value)


def globs_of(names: Sequence[str]) -> Check:
    """The check of a list of globs, each of which matches one of the names."""
    expected = f"one of {', '.join(names)}, * allowed"
    glob = expecting(expected, lambda value: any(fnmatchcase(name, text(value)) for name in names))
    return list_of(glob, f"a list with {expected}")


def header_names(value: Any) -> tuple[str, ...]:
    """Names of headers that may be shown to every reader, in lower case."""
    names = tuple(each.lower() for each in texts(value))
    if not all(re.fullmatch(r"[a-z0-9-]+", each) and not CREDENTIAL_HEADERS.search(each) for each in names):
        raise Mistake("a list of names of headers that hold no credentials", value)
    return names


# Files


def path(value: Any) -> Path:
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise Mistake("a path, in a home directory that exists if it begins with ~", value) from None


def trusted_file(value: Any) -> Path:
    """A file that no other user may own or write; the start checks that."""
    return path(value)


def absolute_path(value: Any) -> Path:
    found = path(value)
    if not found.is_absolute():
        raise Mistake("an absolute path", value)
    return found


def known_hosts(value: Any) -> Path:
    """A file for ssh, which expands % and $ and takes no quotes."""
    found = absolute_path(value)
    if re.search(r"[%$\"\\]", str(found)):
        raise Mistake('an absolute path without %, $, \\ and "', value)
    return found


def secret_file(value: Any) -> Path:
    """A file, or `credential:NAME` for the credential NAME that systemd passes to the agent's unit."""
    found = re.fullmatch(r"credential:([A-Za-z0-9._-]+)", value) if isinstance(value, str) else None
    if found is None:
        return path(value)
    return credentials() / found[1]


def credentials() -> Path:
    """The folder of systemd's credentials for this process; outside of a unit, the folder of the agent's unit."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", CREDENTIALS))


folder = expecting(
    "a folder at least two levels below /, without ..",
    lambda value: len(value.parts) >= 3 and ".." not in value.parts,
)
"""The path of a folder whose content may be deleted; a folder directly below / is refused as a likely mistake."""


def mode(value: Any) -> str:
    """The permissions of a file as four octal digits, from a string or a number."""
    bits = int(value, 8) if isinstance(value, str) and re.fullmatch(r"[0-7]{3,4}", value) else value
    if not _is_integer(bits) or not 0 <= bits <= 0o777:
        raise Mistake('the permissions of a file, such as "0660"', value)
    return f"{bits:04o}"


group = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", "the name of a group")
"""The name of a group; whether this host has the group is checked when it is needed."""

# Units and commands

unit = matching(UNIT, 'the full name of a unit, such as "redis-server.service"')
units = list_of(unit, "a list of units")
template = matching(TEMPLATE, 'a template of services, such as "vacuum@.service"')

command = expecting(
    'a command as a list of words, such as ["/bin/true"]',
    lambda value: isinstance(value, list) and value and value[0] and all(isinstance(each, str) for each in value),
    tuple,
)
"""A command as the list of its words; no command is run by a shell."""
commands = list_of(command, 'a list of commands, such as [["/bin/true"]]')
