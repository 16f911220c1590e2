"""Parses the tokens file: identities by e-mail with their tokens, and users of this host by name or group."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.config import toml, validators
from agent.config.mistakes import NOTHING, Mistake, inside

EMAIL = re.compile(r"[^\s\x00-\x1f\x7f<>@\"\\]{1,64}@[^\s\x00-\x1f\x7f<>@\"\\]{1,190}")
UNIX = "unix"
"""The table of the users and groups of this host; no e-mail has this name."""
UNIX_NAME = re.compile(r"@?[^\s\x00-\x1f\x7f@:\"/]{1,128}")
TOKEN = ("created", "expires", "sha256")
LOCAL = ("expires", "kinds", "permissions", "read_only")
MEMBERS = ("expires", "kinds", "permissions", "read_only", "sha256", "tokens")
PERMISSIONS = ("approve", "audit", "controller")
"""Permissions beyond schedule, cancel and read: approve actions of others, read the audit trail, name a requester of
the core (generation 0.5 of the node protocol)."""
HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
MOST_CUTS = 200
"""Maximum attempts to parse a shorter part of a file with a syntax error; after them no identity is accepted."""

EVERYTHING = ("*",)
"""The globs of a caller with permission for all kinds."""


@dataclass(frozen=True)
class Token:
    """One token of an identity, known by its hash. Times are seconds since the epoch."""

    sha256: bytes
    expires: float | None = None
    created: float | None = None

    @property
    def id(self) -> str:
        """The public id: the first 12 digits of the hash. It does not help to guess the token."""
        return self.sha256.hex()[:12]


@dataclass(frozen=True)
class Identity:
    """A caller and its permissions. `expires`: end of all its credentials, in seconds since the epoch."""

    email: str
    globs: tuple[str, ...]
    read_only: bool = False
    tokens: tuple[Token, ...] = ()
    expires: float | None = None
    permissions: tuple[str, ...] = ()
    kinds: re.Pattern[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        pattern = re.compile("|".join(fnmatch.translate(glob) for glob in self.globs) or r"(?!)")
        object.__setattr__(self, "kinds", pattern)

    def may(self, kind: str) -> bool:
        """Whether the identity may schedule and cancel actions of this kind."""
        return not self.read_only and self.kinds.fullmatch(kind) is not None


@dataclass(frozen=True)
class Identities:
    """The identities of a tokens file by e-mail, and of unix users by user name or `@` and group name."""

    by_email: Mapping[str, Identity] = field(default_factory=dict)
    unix: Mapping[str, Identity] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.by_email) + len(self.unix)

    def next_end(self, now: float) -> float | None:
        """When the next valid token or identity expires, in seconds since the epoch; None if none ever does."""
        identities = (*self.by_email.values(), *self.unix.values())
        ends = [each.expires for each in identities]
        ends += [token.expires for each in identities for token in each.tokens]
        return min((end for end in ends if end is not None and end > now), default=None)

    def of_user(self, user: str, groups: Iterable[str], email: str, *, now: float) -> Identity | None:
        """The identity of a user of this host: its own table, else the union of the valid tables of its groups.

        None if there is no table. `now`: seconds since the epoch.
        """
        if own := self.unix.get(user):
            return replace(own, email=email)
        found = [each for name in groups if (each := self.unix.get(f"@{name}")) and (each.expires or now + 1) > now]
        if not found:
            return None
        writing = [each for each in found if not each.read_only]
        globs = tuple(glob for each in writing for glob in each.globs)
        permissions = tuple(sorted({name for each in found for name in each.permissions}))
        ends = [each.expires for each in found if each.expires is not None]
        # The user has access until the last of its groups expires.
        expires = max(ends) if len(ends) == len(found) else None
        return Identity(email, globs, read_only=not writing, expires=expires, permissions=permissions)


def parse(document: Mapping[str, Any], *, certificates: bool = False) -> Identities:
    """The identities of a document. Raises the first `Mistake`, which never shows a value that may be a token.

    `certificates`: identities may have no token, because certificates identify callers.
    """
    identities, mistakes = parse_valid(document, certificates=certificates)
    if mistakes:
        raise mistakes[0]
    return identities


def parse_valid(document: Mapping[str, Any], *, certificates: bool = False) -> tuple[Identities, tuple[Mistake, ...]]:
    """The identities with valid tables, and the mistakes of all other tables."""
    by_email: dict[str, Identity] = {}
    unix: dict[str, Identity] = {}
    mistakes: list[Mistake] = []
    for name, content in document.items():
        try:
            with inside(name):
                if name == UNIX:
                    _parse_unix(content, unix, mistakes)
                else:
                    by_email[name] = _identity(name, content, certificates)
        except Mistake as mistake:
            mistakes.append(mistake)
    if shared := _shared(by_email.values()):
        mistakes.append(Mistake("a token of its own for each identity", "one token for two", at="sha256"))
        by_email = {email: each for email, each in by_email.items() if not shared & _hashes(each)}
    return Identities(by_email, unix), tuple(mistakes)


def tables_before_mistake(text: str) -> dict[str, Any]:
    """The complete tables before the first syntax error, except those that the rest of the text names again.

    TOML is parsed from beginning to end, so the text after a mistake cannot change the tables before it.
    """
    before = text
    for _ in range(MOST_CUTS):
        try:
            document = toml.loads(before)
        except toml.Mistake as error:
            before = before[: _last_header(before, str(error))]
        else:
            rest = text[len(before) :]
            return {name: content for name, content in document.items() if name not in rest}
    return {}


def _last_header(text: str, reason: str) -> int:
    """The position of the last table header up to the mistake."""
    end = len(text)
    if place := PLACE.search(reason):
        lines = text.splitlines(keepends=True)
        end = sum(map(len, lines[: int(place[1]) - 1])) + int(place[2]) - 1
    return max((each.start() for each in HEADER.finditer(text) if each.start() <= end), default=0)


def _parse_unix(content: Any, unix: dict[str, Identity], mistakes: list[Mistake]) -> None:
    for name, table in _table(content).items():
        try:
            with inside(name):
                unix[name] = _local(name, table)
        except Mistake as mistake:
            mistakes.append(mistake.inside(UNIX))


def _local(name: str, content: Any) -> Identity:
    if not UNIX_NAME.fullmatch(name):
        raise Mistake("the name of a user, or @ and that of a group", name)
    _refuse_others(_table(content), LOCAL)
    permissions = _member(content, "permissions", _permissions, ())
    return Identity(name, _kinds(content), _read_only(content), expires=_expires(content), permissions=permissions)


def _identity(email: str, content: Any, certificates: bool) -> Identity:
    if not EMAIL.fullmatch(email):
        raise Mistake("an e-mail in quotes as the name of a table", email)
    _refuse_others(_table(content), MEMBERS)
    if "sha256" not in content and "tokens" not in content and not certificates:
        raise Mistake("the hash of a token, as api.tls.clients_ca is not set", NOTHING, at="sha256")
    tokens = [Token(_member(content, "sha256", _digest, b""))] if "sha256" in content else []
    tokens += _member(content, "tokens", _tokens, ())
    permissions = _member(content, "permissions", _permissions, ())
    return Identity(email, _kinds(content), _read_only(content), tuple(tokens), _expires(content), permissions)


def _permissions(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(each in PERMISSIONS for each in value):
        raise Mistake("a list of " + ", ".join(PERMISSIONS), value)
    return tuple(value)


def _tokens(value: Any) -> list[Token]:
    if not isinstance(value, list):
        raise Mistake("a list of tables", type(value).__name__)
    found = []
    for number, content in enumerate(value):
        with inside(str(number)):
            _refuse_others(_table(content), TOKEN)
            if "sha256" not in content:
                raise Mistake("the hash of a token", NOTHING, at="sha256")
            digest = _member(content, "sha256", _digest, b"")
            found.append(Token(digest, _expires(content), _member(content, "created", moment, None)))
    return found


def _hashes(identity: Identity) -> set[bytes]:
    return {each.sha256 for each in identity.tokens}


def _shared(identities: Iterable[Identity]) -> set[bytes]:
    """Hashes that occur more than once; the owner of such a token is ambiguous."""
    once: set[bytes] = set()
    twice: set[bytes] = set()
    for each in identities:
        for token in each.tokens:
            (twice if token.sha256 in once else once).add(token.sha256)
    return twice


def _table(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise Mistake("a table", type(content).__name__)
    return content


def _refuse_others(content: Mapping[str, Any], members: tuple[str, ...]) -> None:
    for name in content:
        if name not in members:
            raise Mistake("one of " + ", ".join(members), None, at=name, unknown=True)


def _kinds(content: Mapping[str, Any]) -> tuple[str, ...]:
    found: tuple[str, ...] = _member(content, "kinds", validators.texts, ())
    return found


def _read_only(content: Mapping[str, Any]) -> bool:
    return bool(_member(content, "read_only", _boolean, False))


def _expires(content: Mapping[str, Any]) -> float | None:
    found: float | None = _member(content, "expires", moment, None)
    return found


def _member(content: Mapping[str, Any], name: str, check: validators.Check, default: Any) -> Any:
    with inside(name):
        return check(content[name]) if name in content else default


def _digest(value: Any) -> bytes:
    # The value is not shown: it may be the token itself.
    if not isinstance(value, str):
        raise Mistake("64 hexadecimal digits", type(value).__name__)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise Mistake("64 hexadecimal digits", f"{len(value)} characters")
    return bytes.fromhex(value)


def moment(value: Any) -> float:
    """A TOML time with an offset, or a text of one, as seconds since the epoch. Raises `Mistake`."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise Mistake("a time with its offset, such as 2027-01-31T12:00:00Z", str(value))
    return found.timestamp()


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Mistake("true or false", value)
    return value
