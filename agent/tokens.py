"""The file of who may call: an identity a table, with the hash of its token and the kinds it may schedule."""

import fnmatch
import hashlib
import hmac
import os
import re
import stat
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import checks, log
from agent.checks import Wrong
from agent.errors import ConfigError

EMAIL = re.compile(r"[^\s\x00-\x1f\x7f<>@\"\\]{1,64}@[^\s\x00-\x1f\x7f<>@\"\\]{1,190}")
MEMBERS = ("kinds", "read_only", "sha256")
JUST_NOW = 100_000_000
"""Nanoseconds in which a file may change again without a later time of change."""

EVERYTHING = re.compile(r"(?s:.*)")
"""The kinds of a caller who may schedule all of them."""

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """Somebody who may call. Without `sha256` only a client certificate shows who it is."""

    email: str
    sha256: bytes | None
    kinds: re.Pattern[str]
    read_only: bool

    def may(self, kind: str) -> bool:
        """Whether it may schedule and cancel actions of this kind."""
        return not self.read_only and self.kinds.fullmatch(kind) is not None


class Tokens:
    """The identities of a file, read again when it changes; used from any thread.

    A file that became wrong changes nothing but the log: the identities of before stay. One that is wrong from
    the beginning has none, and nobody is let in until it is right: who was in it before this process is not known.
    """

    def __init__(self, path: Path, *, certificates: bool = False) -> None:
        """With `certificates` an identity may do without a token."""
        self._path = path
        self._certificates = certificates
        self._reading = threading.Lock()
        self._complaint = ""
        self._identities: Mapping[str, Identity] = {}
        self._stamp: Stamp | None = None
        self._current()

    def by_token(self, token: str) -> Identity | None:
        """Whose token it is. The time it takes tells nothing of how near it comes to one."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for each in self._current().values():
            if hmac.compare_digest(digest, each.sha256 or b""):
                found = each
        return found

    def by_email(self, email: str) -> Identity | None:
        return self._current().get(email)

    def _current(self) -> Mapping[str, Identity]:
        if _stamp_at(self._path) != self._stamp:
            with self._reading:
                self._read_again()
        return self._identities

    def _read_again(self) -> None:
        before = _stamp_at(self._path)
        if before == self._stamp:
            return  # another thread did
        try:
            self._identities, self._stamp = read(self._path, certificates=self._certificates)
            self._complaint = ""
        except ConfigError as error:
            self._stamp = before
            if str(error) != self._complaint:
                log.tokens_not_read(str(error), len(self._identities))
            self._complaint = str(error)


def read(path: Path, *, certificates: bool = False) -> tuple[dict[str, Identity], Stamp]:
    """The identities of a file by e-mail, and what tells that it has changed since. Raises `ConfigError`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            _check_private(path, status)
            document = tomllib.loads(file.read().decode())
        return parse(document, certificates=certificates), _stamp(status)
    except Wrong as wrong:
        raise ConfigError(f"{path}: {wrong}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def parse(document: Mapping[str, Any], *, certificates: bool = False) -> dict[str, Identity]:
    """The identities by e-mail. Raises `Wrong`, which never shows what might be a token."""
    identities: dict[str, Identity] = {}
    for email, content in document.items():
        with checks.inside(email):
            identities[email] = _identity(email, content, certificates)
    hashes = [each.sha256 for each in identities.values() if each.sha256]
    if len(set(hashes)) < len(hashes):
        raise Wrong("a token of its own for each identity", "one token for two", at="sha256")
    return identities


def _identity(email: str, content: Any, certificates: bool) -> Identity:
    if not EMAIL.fullmatch(email):
        raise Wrong("an e-mail in quotes as the name of a table", email)
    if not isinstance(content, Mapping):
        raise Wrong("a table", type(content).__name__)
    for name in content:
        if name not in MEMBERS:
            raise Wrong("one of " + ", ".join(MEMBERS), None, at=name, unknown=True)
    if "sha256" not in content and not certificates:
        raise Wrong("the hash of a token, as api.tls.clients_ca is not set", checks.NOTHING, at="sha256")
    kinds = _member(content, "kinds", checks.texts, ())
    return Identity(
        email=email,
        sha256=_member(content, "sha256", _digest, None),
        kinds=re.compile("|".join(fnmatch.translate(glob) for glob in kinds) or r"(?!)"),
        read_only=_member(content, "read_only", _boolean, False),
    )


def _member(content: Mapping[str, Any], name: str, check: checks.Check, default: Any) -> Any:
    with checks.inside(name):
        return check(content[name]) if name in content else default


def _digest(value: Any) -> bytes:
    # What was found is not shown: it may be the token itself.
    if not isinstance(value, str):
        raise Wrong("64 hexadecimal digits", type(value).__name__)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise Wrong("64 hexadecimal digits", f"{len(value)} characters")
    return bytes.fromhex(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false", value)
    return value


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: expected a file, got something else")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: expected a file of the user {os.geteuid()} or root, got one of {status.st_uid}")
    if status.st_mode & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise ConfigError(f"{path}: expected a file that only its owner can read (mode 0600), got mode {mode}")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _stamp_at(path: Path) -> Stamp:
    """What changes with the file; nothing where there is none."""
    try:
        return _stamp(os.stat(path))
    except OSError:
        return ()


def _stamp(status: os.stat_result) -> Stamp:
    # A file written this very moment may be written once more with the same times: look again.
    unsettled = abs(time.time_ns() - status.st_mtime_ns) < JUST_NOW
    moment = time.monotonic_ns() if unsettled else 0
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, moment)
