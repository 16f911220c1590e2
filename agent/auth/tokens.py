"""The tokens file: read again after each change; grants nothing if it is missing or invalid."""

import hashlib
import hmac
import os
import stat
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from agent import clock, log
from agent.auth import identities, trusted_file
from agent.auth.identities import Identities, Identity
from agent.config import toml
from agent.errors import ConfigError
from agent.util import file_stamp
from agent.util.file_stamp import Stamp

CERTAIN = 600.0
"""Seconds for which the readable identities of a file stay valid after the file became invalid."""
REPEATED = 60.0
"""Seconds between two log events about a file that is still invalid."""


class TokensFileInvalid(ConfigError):
    """The tokens file has mistakes; `certain` are its valid identities."""

    def __init__(self, reason: str, certain: Identities) -> None:
        super().__init__(reason)
        self.certain = certain


class Expired(Exception):
    """The credentials of the caller have expired."""


class TokensFileMissing(ConfigError):
    """The tokens file does not exist."""


class Tokens:
    """The identities of a tokens file, read again when it changes. Thread-safe.

    Empty if the file is missing, was invalid at the first read, or may have been written by another user. After a valid
    file became invalid, its readable identities stay valid for ten minutes.
    """

    def __init__(self, path: Path, *, certificates: bool = False) -> None:
        """`certificates`: an identity needs no token."""
        self._path = path
        self._certificates = certificates
        self._reading = threading.Lock()
        self._identities = Identities()
        self._stamp: Stamp | None = None
        self._was_valid = False
        self._fault = ""
        self._readable_until = 0.0
        self._report_at = 0.0
        self._current()

    def by_token(self, token: str) -> Identity | None:
        """The identity of a token, with only this token; None if unknown. Raises `Expired`.

        Compares in constant time, so that the duration reveals nothing about valid tokens.
        """
        return self.by_digest(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest())

    def by_digest(self, digest: bytes) -> Identity | None:
        """The identity of a token by its SHA-256, with only this token; None if unknown. Raises `Expired`."""
        found = None
        for identity in self._current().by_email.values():
            for each in identity.tokens:
                if hmac.compare_digest(digest, each.sha256):
                    found = identity, each
        if found is None:
            return None
        for expires in (found[0].expires, found[1].expires):
            _refuse_expired(expires, found[0].email)
        return replace(found[0], tokens=(found[1],))

    def by_email(self, email: str) -> Identity | None:
        """The identity of a certificate's e-mail; None if unknown. Raises `Expired`."""
        identity = self._current().by_email.get(email)
        if identity is not None:
            _refuse_expired(identity.expires, email)
        return identity

    def by_user(self, user: str, groups: Iterable[str], email: str) -> Identity | None:
        """The identity of a user of this host, with `email` as its e-mail; None if unknown. Raises `Expired`."""
        identity = self._current().of_user(user, groups, email, now=clock.now() / 1e6)
        if identity is not None:
            _refuse_expired(identity.expires, email)
        return identity

    @property
    def knows_users(self) -> bool:
        """Whether the file has a table for users of this host."""
        return bool(self._current().unix)

    def next_end(self) -> float | None:
        """When the next token or identity expires, in seconds since the epoch; None if none ever does."""
        return self._current().next_end(clock.now() / 1e6)

    def _current(self) -> Identities:
        if file_stamp.at(self._path) != self._stamp or (self._fault and clock.monotonic() >= self._report_at):
            with self._reading:
                self._check_for_changes()
        return self._identities

    def _check_for_changes(self) -> None:
        now = file_stamp.at(self._path)
        if now != self._stamp:
            self._read_again(now)
        elif self._fault and clock.monotonic() >= self._report_at:
            self._report(self._fault)

    def _read_again(self, now: Stamp) -> None:
        try:
            self._identities, self._stamp = read(self._path, certificates=self._certificates)
        except TokensFileInvalid as broken:
            self._stamp = now
            self._become_invalid(str(broken), broken.certain if self._was_valid else Identities())
        except ConfigError as error:
            self._stamp = now
            self._was_valid = False
            self._become_invalid(str(error), Identities())
        else:
            self._was_valid, self._fault = True, ""

    def _become_invalid(self, reason: str, certain: Identities) -> None:
        if not self._fault:
            self._readable_until = clock.monotonic() + CERTAIN
        self._identities = certain if clock.monotonic() < self._readable_until else Identities()
        if reason != self._fault or clock.monotonic() >= self._report_at:
            self._report(reason)

    def _report(self, reason: str) -> None:
        """Log the reason, repeated every `REPEATED` seconds; after `CERTAIN` seconds accept no identity any more."""
        left = self._readable_until - clock.monotonic()
        if left <= 0:
            self._was_valid, self._identities = False, Identities()
        self._fault, self._report_at = reason, clock.monotonic() + REPEATED
        if self._identities and 0 < left < REPEATED:
            self._report_at = self._readable_until
        log.tokens_not_read(reason, len(self._identities), max(left, 0.0))


def read(path: Path, *, certificates: bool = False) -> tuple[Identities, Stamp]:
    """The identities of a file, and its stamp.

    Raises `TokensFileMissing`, `TokensFileInvalid`, `Untrusted` or `ConfigError`.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path}: expected a file, got something else")
            exposed = _exposed(path, status)
            content = file.read()
    except FileNotFoundError:
        raise TokensFileMissing(f"{path}: cannot be read: there is no such file; run agentctl token create") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    found, mistake = _parsed(content, certificates)
    if reason := exposed or (mistake and f"{path}: {mistake}"):
        raise TokensFileInvalid(reason, found)
    return found, file_stamp.of(status)


def _exposed(path: Path, status: os.stat_result) -> str:
    """Why other users can read the file; empty if they cannot. Raises `Untrusted` if they can write it."""
    try:
        trusted_file.check(path, status, private=True)
    except trusted_file.Exposed as error:
        return str(error)
    return ""


def _parsed(content: bytes, certificates: bool) -> tuple[Identities, str]:
    """The valid identities, and the first mistake, if any."""
    try:
        document = toml.loads(content.decode())
    except UnicodeDecodeError as error:
        document = identities.tables_before_mistake(content[: error.start].decode() + "\0")
        mistake = f"not TOML: {error}"
    except toml.Mistake as error:
        document = identities.tables_before_mistake(content.decode())
        mistake = f"not TOML: {error}"
    else:
        mistake = ""
    found, mistakes = identities.parse_valid(document, certificates=certificates)
    return found, mistake or (str(mistakes[0]) if mistakes else "")


def _refuse_expired(expires: float | None, email: str) -> None:
    if expires is not None and clock.now() >= expires * 1e6:
        raise Expired(f"the credentials of {email} have expired")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
