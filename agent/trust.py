"""What must be right before anybody is served: the files of trust, and a word on what they leave open."""

import glob
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from agent import checks, log, secret_file, tls, tokens, trusted, unix_sockets
from agent.config import Api, Settings
from agent.errors import ConfigError
from agent.secret_file import SecretUnreadable
from agent.trusted import Untrusted

TRUSTED = (checks.secret_file, checks.trusted_file, checks.known_hosts)
"""The checks of options that name a file whose content is trusted."""

PRIVATE = (".lock", ".key")
"""What lies beside the database and no other user may read: a process that can read the lock can take it."""
DATABASE = ("", "-wal", "-shm")
"""What SQLite gives the same mode."""


def check(settings: Settings, file: Path | None = None) -> None:
    """Raises `ConfigError` for a file of trust that could not be used, or that another user may write or owns.

    `file` is that of the configuration itself.
    """
    if file is not None:
        trusted.check_file(file)
    _check_state(settings.agent.db)
    _check_callers(settings.api)
    for option, secret in _named_files(settings):
        _check_file(option, secret)
    for option, secret in _keys_to_sign_with(settings).items():
        try:
            secret_file.read(secret, shortest=secret_file.SHORTEST_KEY)
        except SecretUnreadable as error:
            raise ConfigError(f"{option}: {error}") from None


def _check_state(db: Path) -> None:
    """The database and all that lies beside it under its name: log, lock, keys, jobs."""
    try:
        trusted.check_file(db)
        for each in sorted(db.parent.glob(f"{glob.escape(db.name)}?*")):
            trusted.check_file(each, private=each.name.removeprefix(db.name) in PRIVATE, link=False)
    except Untrusted as error:
        raise ConfigError(f"agent.db: {error}") from None


def close_state(db: Path) -> None:
    """Let no other user read a database that was copied or restored with a wider mode: secrets pass through it."""
    for each in (db.with_name(f"{db.name}{suffix}") for suffix in DATABASE):
        with suppress(FileNotFoundError):
            status = each.stat()
            if status.st_mode & trusted.OTHERS_MAY_USE and status.st_uid == os.geteuid():
                each.chmod(0o600)
                log.database_closed(str(each), stat.S_IMODE(status.st_mode))


def _check_callers(api: Api) -> None:
    if api.tokens is not None:
        tokens.read(api.tokens, certificates=api.certified)
        _check_file("api.tokens", api.tokens)
    if api.tls is not None:
        tls.context(api.tls)
    unix_sockets.gid_of(api.socket_group)


def _named_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files that options name whose content is trusted, by option; those that are not there are none."""
    for table, content in vars(settings).items():
        sections = {table: content} if is_dataclass(content) else content or {}
        for name, section in sections.items():
            yield from _named_in(section, name if sections is not content else f"{table}.{name}")


def _named_in(section: Any, name: str) -> Iterator[tuple[str, Path]]:
    for option in fields(section):
        value = getattr(section, option.name)
        if is_dataclass(value):
            yield from _named_in(value, f"{name}.{option.name}")
        elif value is not None and option.metadata["check"] in TRUSTED and not _is_unseen(value):
            yield f"{name}.{option.name}", value


def _check_file(option: str, file: Path) -> None:
    try:
        trusted.check_file(file)
    except Untrusted as error:
        raise ConfigError(f"{option}: {error}") from None


def _keys_to_sign_with(settings: Settings) -> dict[str, Path]:
    """The files by the options that name them; outside of the agent's unit none that systemd gives to that alone."""
    files = {f"applications.{name}.hook_secret": each.hook_secret for name, each in settings.applications.items()}
    if settings.callbacks is not None:
        files["callbacks.secret"] = settings.callbacks.secret
    return {option: file for option, file in files.items() if file is not None and not _is_unseen(file)}


def _is_unseen(file: Path) -> bool:
    """Whether systemd gives the file to the agent's unit alone, and this process is outside of the unit."""
    # A unit that is given no credential at all has no directory for them.
    in_unit = "CREDENTIALS_DIRECTORY" in os.environ or "NOTIFY_SOCKET" in os.environ
    return not in_unit and file.parent == Path(checks.CREDENTIALS)


def tell(settings: Settings) -> None:
    """A warning of what is open, one line each."""
    _tell_of_callers(settings.api)
    if settings.callbacks is not None and settings.callbacks.secret is None:
        log.callbacks_not_signed()


def _tell_of_callers(api: Api) -> None:
    if not api.authenticated:
        log.callers_not_authenticated(", ".join(api.bind))
    if api.tokens is None and api.certified:
        log.every_certificate_may_all()
    if api.tokens is not None and api.tls is None and not api.local:
        log.tokens_in_the_clear(", ".join(each for each in api.bind if not checks.is_local(each)))
