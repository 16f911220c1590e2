"""The checks of option values: each returns the value in its final form or raises `Mistake`."""

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from agent.config.mistakes import UNSHOWN, Mistake, inside

LONGEST = 1e9
"""Seconds, some thirty years: more than a timer can be set to is hardly meant."""

CREDENTIALS = "/run/credentials/agent.service"
"""Where systemd puts them for the agent's unit, for a check of the configuration outside of it."""

UNIT = r"[A-Za-z0-9:_][A-Za-z0-9:_.\\@-]*\.(service|socket|timer|target|path|slice|scope|mount|swap|device)"
TEMPLATE = r"[A-Za-z0-9:_][A-Za-z0-9:_.\\-]*@\.service"
REF_LETTERS = r"[^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]{1,1000}"
REPOSITORY = (
    r"(https?|ssh|git)://((?P<user>[^@/\s]*)@)?[A-Za-z0-9\[][^@/\s]*(/\S*)?|file:///\S*|/.*"
    r"|([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!:|//)\S+"
)

CREDENTIAL_HEADERS = re.compile(
    "auth|credential|token|secret|password|passwd|passphrase|cookie|session|signature|jwt|assertion|oidc|dpop|api-?key"
    "|(?:access|account|functions?|subscription|shared|private|service)-?key|^http2-settings$"
)
"""Headers that may prove the identity of a caller, by their names: the agent's own, a proxy's, another service's."""

Check = Callable[[Any], Any]


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Mistake("a text", value)
    return value


def path(value: Any) -> Path:
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise Mistake("a path, in a home directory that exists if it begins with ~", value) from None


def trusted_file(value: Any) -> Path:
    """A file whose content is believed: no other user may own or write it, which the start finds out."""
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
    """A file, or `credential:NAME` for what systemd gives the agent's unit under that name."""
    found = re.fullmatch(r"credential:([A-Za-z0-9._-]+)", value) if isinstance(value, str) else None
    if found is None:
        return path(value)
    return credentials() / found[1]


def credentials() -> Path:
    """Where systemd's credentials for this process lie, or would for the agent's unit."""
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", CREDENTIALS))


def positive_integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Mistake("a positive integer", value)
    return value


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Mistake("true or false", value)
    return value


def natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Mistake("an integer of 0 or more", value)
    return value


def positive_number(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < LONGEST:
        raise Mistake("a positive number", value)
    return float(value)


def not_negative(value: Any) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    return positive_number(value)


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


def one_of(*allowed: str) -> Check:
    def check(value: Any) -> str:
        if value not in allowed:
            raise Mistake("one of " + ", ".join(json.dumps(each) for each in allowed), value)
        return str(value)

    return check


def texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise Mistake("a list of texts", value)
    return tuple(value)


def globs_of(names: Sequence[str]) -> Check:
    """A list of globs, each of which matches one of the names."""

    expected = f"one of {', '.join(names)}, * allowed"

    def check_one(value: Any) -> str:
        if not any(fnmatchcase(name, text(value)) for name in names):
            raise Mistake(expected, value)
        return str(value)

    return lambda value: _list_of(check_one, value, f"a list with {expected}")


def naturals(value: Any) -> tuple[int, ...]:
    expected = "a list of integers of 0 or more"
    if not value:
        raise Mistake(expected, value)
    return _list_of(natural, value, expected)


def unit(value: Any) -> str:
    """A systemd unit by its full name, which is unique."""
    if not isinstance(value, str) or not re.fullmatch(UNIT, value):
        raise Mistake('the full name of a unit, such as "redis-server.service"', value)
    return value


def template(value: Any) -> str:
    """A template of services: the part of its name before the instance, and `.service`."""
    if not isinstance(value, str) or not re.fullmatch(TEMPLATE, value):
        raise Mistake('a template of services, such as "vacuum@.service"', value)
    return value


def units(value: Any) -> tuple[str, ...]:
    return _list_of(unit, value, "a list of units")


def git_ref(value: Any) -> str:
    """A branch, a tag or a commit, in any letters that git allows in one, and never an option of git."""
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
    """Where git fetches from. Never an option of git or a helper to run, and without a password."""
    found = re.fullmatch(REPOSITORY, text(value))
    if found is None:
        raise Mistake("a URL of http, https, ssh, git or file, user@host:path, or an absolute path", _unshown(value))
    if ":" in (found["user"] or "") or (found["user"] and value.startswith("http")):
        # A password, or a token in the place of a user, would be shown wherever the repository is named.
        raise Mistake("a URL without user and password, which belong into the file that credentials names", UNSHOWN)
    return str(value)


def _unshown(value: str) -> Any:
    """What is no address at all may hold a password too."""
    return UNSHOWN if "@" in value or "?" in value else value


def urls(value: Any) -> tuple[str, ...]:
    """Addresses of HTTP receivers; what they are signed with is no part of them."""
    return _list_of(_url, value, "a list of URLs")


def server_url(*schemes: str) -> Check:
    """Where a server listens: `scheme://host:port` or `unix:///path`; neither database nor password is part of it."""
    forms = " or ".join("unix:///path" if each == "unix" else f"{each}://host:port" for each in schemes)

    def check(value: Any) -> str:
        if not _listens(text(value), schemes):
            raise Mistake(f"{forms}, without a database or password", _unshown(value))
        return str(value)

    return check


def folder(value: Path) -> Path:
    """A folder whose contents may go; what lies directly below / is hardly meant."""
    if len(value.parts) < 3 or ".." in value.parts:
        raise Mistake("a folder at least two levels below /, without ..", value)
    return value


def commands(value: Any) -> tuple[tuple[str, ...], ...]:
    """Several commands, each as a list of its words."""
    return _list_of(command, value, 'a list of commands, such as [["/bin/true"]]')


def command(value: Any) -> tuple[str, ...]:
    """A command as a list of its words: nothing here ever goes through a shell."""
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value) or not value[0]:
        raise Mistake('a command as a list of words, such as ["/bin/true"]', value)
    return tuple(value)


def table_of(check: Check) -> Check:
    def check_each(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise Mistake("a table", value)
        return {key: _at(key, check, each) for key, each in value.items()}

    return check_each


def name(value: str) -> str:
    """The name of a table of yours: it becomes part of a kind, and so of a URL."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", value):
        raise Mistake("a name of letters, digits, dots, dashes, slashes and underscores", value)
    return value


def addresses(value: Any) -> tuple[str, ...]:
    """One address, or a list of several that differ."""
    if not isinstance(value, list):
        return (address(value),)
    found = _list_of(address, value, "a list of addresses")
    if not found or len(set(found)) < len(found):
        raise Mistake("one or more different addresses", value)
    return found


def address(value: Any) -> str:
    """A unix socket, or a port on an address of this machine."""
    if isinstance(value, str) and (named := re.fullmatch(r"unix:(?://)?(/[^/\x00][^\x00]*)", value)):
        return f"unix:{named[1]}"
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]\s]+):(\d{1,5})", value) if isinstance(value, str) else None
    if not found or int(found[2]) > 65535:
        raise Mistake("host:port or unix:/path", value)
    return str(value)


def host_of(address: str) -> str | None:
    """The host of an address that was checked, without the brackets of IPv6; None for a unix socket."""
    return None if address.startswith("unix:") else address.rpartition(":")[0].strip("[]").lower()


def host_names(value: Any) -> tuple[str, ...]:
    """Names or addresses as they stand in `Host`, without their port."""
    if not all(re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+", each) for each in texts(value)):
        raise Mistake("a list of host names without ports", value)
    return tuple(each.lower() for each in value)


def mode(value: Any) -> str:
    """The permissions of a file as four octal digits, from a text of them or a number."""
    bits = value
    if isinstance(value, str) and re.fullmatch(r"[0-7]{3,4}", value):
        bits = int(value, 8)
    if not isinstance(bits, int) or isinstance(bits, bool) or not 0 <= bits <= 0o777:
        raise Mistake('the permissions of a file, such as "0660"', value)
    return f"{bits:04o}"


def group(value: Any) -> str:
    """The name of a group; whether this host has the group is found out when it is needed."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?", value):
        raise Mistake("the name of a group", value)
    return value


def is_local(address: str) -> bool:
    """Whether an address that was checked can be reached from this machine only."""
    host = host_of(address)
    return host is None or is_loopback(host)


def header_names(value: Any) -> tuple[str, ...]:
    """Names of headers that may be shown to every reader, in lower case."""
    names = tuple(each.lower() for each in texts(value))
    expected = "a list of names of headers that hold no credentials"
    if not all(re.fullmatch(r"[a-z0-9-]+", each) and not CREDENTIAL_HEADERS.search(each) for each in names):
        raise Mistake(expected, value)
    return names


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _list_of(check: Check, value: Any, expected: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Mistake(expected, value)
    return tuple(_at(str(index), check, each) for index, each in enumerate(value))


def _url(value: Any) -> str:
    try:
        parts = urlsplit(text(value))
        written = re.fullmatch(r"https?://[!-~]+", value)
        usable = written and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.fragment:
        # What stands before an @ would be a password, and is not repeated.
        raise Mistake("http:// or https://, a host and a path, without a user", UNSHOWN)
    return str(value)


def _listens(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and parts.password is None and parts.port != 0
    except ValueError:
        return False
    if not usable or parts.fragment or any(not each.startswith("ssl_") for each, _ in parse_qsl(parts.query)):
        return False
    if parts.scheme == "unix":
        return url.startswith("unix://") and not parts.hostname and len(parts.path) > 1
    return bool(parts.hostname) and parts.path in ("", "/")


def _at(key: str, check: Check, value: Any) -> Any:
    with inside(key):
        return check(value)
