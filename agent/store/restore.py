"""Restores a copy: prepared beside the database, then renamed over it. The replaced database is kept."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from time import gmtime, strftime
from typing import NamedTuple

from agent import clock
from agent.errors import StoreUnusable
from agent.store import Store, actions, copies, from_backup, idempotency
from agent.store.migrate import migrations, refuse_foreign, refuse_newer, version
from agent.util import atomic_files


class Restored(NamedTuple):
    """The numbers of failed and still waiting actions; the path of the replaced database, if there was one."""

    failed: int
    waiting: int
    replaced: Path | None


def restore(copy: Path, db: Path, user: str, *, keep_queue: bool) -> Restored:
    """Replace `db` by the copy. The caller must hold the lock of `db`, so that no agent runs.

    Raises `StoreUnusable` if the copy is damaged or not an agent's database, `OSError`, `sqlite3.Error`. Until the last
    rename the database is unchanged.
    """
    draft = db.with_name(f"{db.name}.restoring")
    _remove(draft)
    key = _key_beside(copy)
    try:
        _read(copy, draft)
        failed, waiting = _prepare(draft, copy, user, keep_queue=keep_queue)
        replaced = _exchange(draft, db)
    finally:
        _remove(draft)
    if key is not None:
        atomic_files.replace(key_of(db), key)
    from_backup.Witness(db).forget()
    return Restored(failed, waiting, replaced)


def key_of(db: Path) -> Path:
    """The path of the fingerprints' hash key, beside a database or a copy."""
    return db.with_name(f"{db.name}.key")


def _key_beside(copy: Path) -> bytes | None:
    found = atomic_files.read(key_of(copy))
    if found is not None and len(found) != idempotency.KEY_BYTES:
        raise StoreUnusable(f"{key_of(copy)} is damaged: copy it again, or remove it to restore without the key")
    return found


def _read(copy: Path, draft: Path) -> None:
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as source:
        try:
            refuse_foreign(source)
            refuse_newer(source, migrations())
            if not version(source):
                raise StoreUnusable("it is empty")
            if fault := copies.fault_of(source):
                raise StoreUnusable(f"it is damaged: {fault}")
        except (StoreUnusable, sqlite3.Error) as error:
            raise StoreUnusable(f"{copy}: {error}") from None
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(draft)) as target:
            source.backup(target)


def _prepare(draft: Path, copy: Path, user: str, *, keep_queue: bool) -> tuple[int, int]:
    store = Store(draft, copies_before_change=False)
    try:
        # The copy is at least as new as its newest event; its exact time is unknown.
        made = store.read("SELECT timestamp FROM events ORDER BY id DESC LIMIT 1")[0][0]
        why = f"the database was restored from {copy.name}, as of {clock.rfc3339(made)}"
        failed = from_backup.fail_waiting(store, why, keep=keep_queue, user=user)
        waiting = len(actions.queue(store))
        store.wipe_secrets()
    finally:
        store.close()
    return failed, waiting


def _exchange(draft: Path, db: Path) -> Path | None:
    """Rename the draft to the database. The replaced one gets the content of its log, or is kept with its log."""
    if not db.exists():
        os.rename(draft, db)
        atomic_files.sync(db.parent)
        return None
    with suppress(sqlite3.Error), closing(sqlite3.connect(db, timeout=1.0)) as connection:
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            # A kill between the renames below would lose its newest changes.
            raise StoreUnusable(f"{db} is read by another process: end that process, or try again")
    now = clock.now()
    time = f"{strftime('%Y%m%dT%H%M%S', gmtime(now // 1_000_000))}.{now % 1_000_000:06}Z"
    replaced = db.with_name(f"{db.name}.replaced-{time}")
    os.link(db, replaced)
    for suffix in ("-wal", "-shm"):  # exist if the replaced database cannot be read
        with suppress(FileNotFoundError):
            os.rename(f"{db}{suffix}", f"{replaced}{suffix}")
    os.rename(draft, db)
    atomic_files.sync(db.parent)
    return replaced


def _remove(draft: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(f"{draft}{suffix}")
