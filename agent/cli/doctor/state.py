"""Doctor's checks of the agent's own files: folders, the database, secrets, and free disk space."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agent.auth import secret_file
from agent.auth.secret_file import SecretUnreadable
from agent.cli.doctor.finding import Finding
from agent.config import Settings, validators
from agent.config.option import walk
from agent.store.migrate import migrations

LEAST_ROOM = 256 * 1024 * 1024
"""Minimum bytes free for the database, its log and the copy before a migration."""


def folder(settings: Settings) -> Iterator[Finding]:
    """Whether the agent can write in the folder of the database and the folders of actions."""
    for option, path in folders(settings):
        yield _writable(option, path)


def folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The folders that the agent writes in, by option."""
    yield "agent.db", settings.agent.db.absolute().parent
    for name, application in settings.applications.items():
        yield f"applications.{name}.path", application.path
    for name, cache in settings.caches.items():
        if cache.path is not None:
            yield f"caches.{name}.path", cache.path
    if settings.maintenance is not None and settings.maintenance.flag is not None:
        yield "maintenance.flag", settings.maintenance.flag.parent


def _writable(option: str, path: Path) -> Finding:
    if not path.exists():
        return Finding(option, f"there is no folder {path}: run install -d -o {_user()} -m 0750 {path}")
    if not path.is_dir():
        return Finding(option, f"{path} is no folder: name one in the configuration")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding(option, f"{_user()} may not write in {path}: run chown {_user()} {path}")
    return Finding(option, detail=str(path))


def _user() -> str:
    from agent.auth.trusted_file import user

    return user(os.geteuid())


def database(settings: Settings) -> Iterator[Finding]:
    """Whether the database is undamaged and has a schema that this version supports."""
    db = settings.agent.db
    if not db.exists():
        yield Finding("database", detail=f"{db} is made at the first start")
        return
    newest = migrations()[-1].number
    try:
        with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as connection:
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            (whole,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        yield Finding("database", f"{db} cannot be read: {error}: restore it, or set agent.db to another file")
        return
    if schema > newest:
        yield Finding(
            "database", f"{db} has schema {schema} of a newer agent, this one knows {newest}: start the newer one"
        )
    elif whole != "ok":
        yield Finding("database", f"{db} is damaged: {whole}: restore it from a copy")
    else:
        yield Finding("database", detail=f"{db}, schema {schema}")


def room(settings: Settings) -> Iterator[Finding]:
    """Bytes free for the database."""
    folder = settings.agent.db.absolute().parent
    if folder.is_dir():
        free = shutil.disk_usage(folder).free
        text = f"{free >> 20} MiB are free in {folder}"
        wanted = (
            f"{text}, at least {LEAST_ROOM >> 20} should be: remove files, or lower actions.prune_keep and audit.keep"
        )
        yield Finding("disk", wanted if free < LEAST_ROOM else "", text)


def secrets(settings: Settings) -> Iterator[Finding]:
    """Whether the agent can read every configured file with a password or key."""
    for option, check, path in walk(settings):
        if check is not validators.secret_file or path is None:
            continue
        if path.parent == validators.credentials() or str(path).startswith(validators.CREDENTIALS):
            continue  # a credential, which only the agent's unit sees
        try:
            secret_file.read(path)
            yield Finding(option, detail=str(path))
        except SecretUnreadable as error:
            yield Finding(option, f"{error}: let {_user()} read it, with mode 0600")
