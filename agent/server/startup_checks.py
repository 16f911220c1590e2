"""Checks before the first request: owner and mode of the files; warnings about open access."""

import glob
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from agent import log
from agent.auth import secret_file, standard_webhooks, tokens, trusted_file
from agent.auth.secret_file import SecretUnreadable
from agent.auth.trusted_file import Untrusted
from agent.config import Api, Settings, addresses, validators
from agent.config.option import walk
from agent.errors import ConfigError
from agent.server import tls, unix_sockets

TRUSTED = (validators.secret_file, validators.trusted_file, validators.known_hosts)
"""The checks of options that name a file whose content is trusted."""

PRIVATE = (".lock", ".key", ".seen")
"""Suffixes of files beside the database that no other user may read: a process that can read the lock can take it."""
DATABASE = ("", "-wal", "-shm")
"""Suffixes of the database's own files, which SQLite creates with the same mode."""


def check(settings: Settings, file: Path | None = None) -> None:
    """Raises `ConfigError` for trusted files that cannot be used, or that another user owns or may write.

    `file`: the configuration file.
    """
    found = dict.fromkeys(map(str, mistakes(settings, file)))  # a key is checked as a file and as a key
    if found:
        raise ConfigError(*found)


def mistakes(settings: Settings, file: Path | None = None) -> Iterator[ConfigError]:
    """Every mistake that `check` raises."""
    checks_of_files: list[Callable[[], None]] = [
        partial(_check_state, settings.agent.db),
        partial(_check_callers, settings.api),
    ]
    if file is not None:
        checks_of_files.insert(0, partial(trusted_file.check_file, file))
    checks_of_files += [partial(_check_file, option, secret) for option, secret in _named_files(settings)]
    checks_of_files += [partial(_check_key, *each) for each in _keys_to_sign_with(settings).items()]
    for check_one in checks_of_files:
        try:
            check_one()
        except ConfigError as error:
            yield error


def trusted_files(settings: Settings, file: Path | None = None) -> Iterator[tuple[Path, bool]]:
    """Every file with a checked mode, and whether only its owner may read it."""
    if file is not None:
        yield file, False
    if settings.api.tokens is not None:
        yield settings.api.tokens, False
    yield settings.agent.db, False
    yield from _beside(settings.agent.db)
    yield from ((path, False) for _, path in _named_files(settings))


def _beside(db: Path) -> Iterator[tuple[Path, bool]]:
    """The files beside the database that begin with its name, and whether only their owner may read them."""
    for each in sorted(db.parent.glob(f"{glob.escape(db.name)}?*")):
        yield each, each.name.removeprefix(db.name) in PRIVATE


def _check_key(option: str, secret: Path) -> None:
    try:
        found = secret_file.read(secret, shortest=secret_file.SHORTEST_KEY)
        if option.startswith("callbacks."):
            standard_webhooks.key(found)
    except (SecretUnreadable, ValueError) as error:
        raise ConfigError(f"{option}: {error}") from None


def _check_state(db: Path) -> None:
    """Check the database and the files beside it that begin with its name: log, lock, keys, jobs."""
    try:
        trusted_file.check_file(db)
        for each, private in _beside(db):
            trusted_file.check_file(each, private=private, link=False)
    except Untrusted as error:
        raise ConfigError(f"agent.db: {error}") from None


def restrict_database_mode(db: Path) -> None:
    """Set mode 0600 on database files that other users can read, because they contain secrets of waiting actions."""
    for each in (db.with_name(f"{db.name}{suffix}") for suffix in DATABASE):
        with suppress(FileNotFoundError):
            status = each.stat()
            if status.st_mode & trusted_file.OTHERS_MAY_USE and status.st_uid == os.geteuid():
                each.chmod(0o600)
                log.database_mode_changed(str(each), stat.S_IMODE(status.st_mode))


def _check_callers(api: Api) -> None:
    if api.tokens is not None:
        tokens.read(api.tokens, certificates=api.certified)
        _check_file("api.tokens", api.tokens)
    if api.tls is not None:
        tls.context(api.tls)
    unix_sockets.gid_of(api.socket_group)


def _named_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The trusted files by option, except those that this process cannot see."""
    for option, check, value in walk(settings):
        if check in TRUSTED and value is not None and not _is_unseen(value):
            yield option, value


def _check_file(option: str, file: Path) -> None:
    try:
        trusted_file.check_file(file)
    except Untrusted as error:
        raise ConfigError(f"{option}: {error}") from None


def _keys_to_sign_with(settings: Settings) -> dict[str, Path]:
    """The files with signing keys by option, except those that this process cannot see."""
    files = {f"applications.{name}.hook_secret": each.hook_secret for name, each in settings.applications.items()}
    if settings.callbacks is not None:
        files["callbacks.secret"] = settings.callbacks.secret
        files["callbacks.previous_secret"] = settings.callbacks.previous_secret
    return {option: file for option, file in files.items() if file is not None and not _is_unseen(file)}


def _is_unseen(file: Path) -> bool:
    """Whether the file is a systemd credential of the agent's unit and this process runs outside of the unit."""
    # systemd sets no CREDENTIALS_DIRECTORY for a unit without credentials.
    in_unit = "CREDENTIALS_DIRECTORY" in os.environ or "NOTIFY_SOCKET" in os.environ
    return not in_unit and file.parent == Path(validators.CREDENTIALS)


def warn(settings: Settings) -> None:
    """Log a warning for each kind of open access."""
    _warn_of_callers(settings.api)
    if settings.callbacks is not None and settings.callbacks.secret is None:
        log.callbacks_not_signed()


def _warn_of_callers(api: Api) -> None:
    if not api.authenticated:
        log.callers_not_authenticated(", ".join(api.bind))
    if api.tokens is None and api.certified:
        log.permissions_not_configured()
    if api.tokens is not None and api.tls is None and not api.local:
        log.tokens_in_the_clear(", ".join(each for each in api.bind if not addresses.is_local(each)))
