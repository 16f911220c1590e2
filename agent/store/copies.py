"""Copies of a database: one private file each, checked, complete except for secrets."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from agent.errors import StoreUnusable
from agent.util import atomic_files

LEFT_OUT = '"left out"'
"""Replaces the secrets of a waiting action: the action cannot run from a copy."""

A_COPY = "a copy"
"""Replaces the ids of machine and boot: an agent that starts on a copy recognizes it."""

MARK = """
    INSERT INTO host (only_row, ids, boot, seen_ts)
    VALUES (1, json_object('machine_id', :mark, 'instance_id', :mark), :mark, 0)
    ON CONFLICT (only_row) DO UPDATE SET ids = excluded.ids, boot = excluded.boot
"""


def make(source: sqlite3.Connection, target: Path, *, schema: int | None = None) -> None:
    """Copy one consistent state of a database, also while an agent writes to it.

    Raises `FileExistsError` if the target exists, `OSError`, `sqlite3.Error`; the target is then not created. With
    `schema` the copy replaces the target, unless another process has changed the schema meanwhile.
    """
    if schema is None and target.exists():
        raise FileExistsError(f"{target} exists")
    written = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        os.close(os.open(written, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(written, isolation_level=None)) as copy:
            source.backup(copy)
            if schema not in (None, copy.execute("PRAGMA user_version").fetchone()[0]):
                return
            _complete(copy)
        if schema is None:
            os.link(written, target)
        else:
            os.replace(written, target)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{written}{suffix}")
    atomic_files.sync(target.parent)


def fault_of(connection: sqlite3.Connection) -> str:
    """The faults that SQLite finds in the whole file, in a sentence; empty without any."""
    found = [" ".join(str(row[0]).split()) for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        return "; ".join(found)
    orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    return f"{len(orphans)} rows refer to rows that do not exist" if orphans else ""


def _complete(copy: sqlite3.Connection) -> None:
    """Make the copy a single file without secrets, and check its integrity."""
    copy.execute("PRAGMA journal_mode = DELETE")
    if _has_table(copy, "actions"):
        copy.execute("UPDATE actions SET secrets = ? WHERE secrets IS NOT NULL", (LEFT_OUT,))
    if _has_table(copy, "host"):
        # Earlier versions of the agent do not know the mark: they take the copy for the database of another machine.
        copy.execute(MARK, {"mark": A_COPY})
    copy.execute("VACUUM")  # leaves no bytes of overwritten values
    if fault := fault_of(copy):
        raise StoreUnusable(f"the database is damaged: {fault}")


def _has_table(copy: sqlite3.Connection, name: str) -> bool:
    return copy.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None
