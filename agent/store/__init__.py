"""The file of state: connections, transactions, and what SQLite's errors mean here."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import StoreUnavailable, StoreUnusable
from agent.store.migrate import migrate, migrations

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""Seconds to wait for somebody else's lock on the file."""

PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # an erased secret leaves no bytes behind
    "PRAGMA cache_size = -512",  # KiB a connection: the memory belongs to the database beside us
)


class Store:
    """The database of one agent. Opened, and brought to our schema, by its first use.

    Every method raises `StoreUnavailable` where the file cannot be read or written now, and
    `StoreUnusable` where it is no database of this agent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._opening = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._turn = threading.Lock()

    def read(self, sql: str, parameters: dict[str, Any] | tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """All rows of one SELECT, as of one moment."""
        with told_as_unavailable():
            return self._reader().execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several SELECTs as of one moment."""
        with told_as_unavailable():
            connection = self._reader()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside a transaction; on disk when this returns, undone where `work` raises."""
        with self._turn, told_as_unavailable():
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                value = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return value

    def write_one(self, sql: str, parameters: dict[str, Any] | tuple[Any, ...]) -> int:
        """Run one statement that is a transaction by itself; how many rows it wrote."""
        with self._turn, told_as_unavailable():
            return self._writing().execute(sql, parameters).rowcount

    def open(self) -> None:
        """Open and migrate now, to hear of a file that cannot be used before anything depends on it."""
        with self._turn, told_as_unavailable():
            self._writing()

    def close(self) -> None:
        """Close the connections of this thread and the writer's."""
        with self._turn:
            for connection in (self._writer, getattr(self._local, "connection", None)):
                if connection is not None:
                    connection.close()
            self._writer = None
            self._local = threading.local()

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        with self._opening, _told_as_unusable(self.path):
            _create_private(self.path)
            # Any thread may close a connection or take its turn as the writer, one at a time.
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            if not connection.execute("PRAGMA schema_version").fetchone()[0]:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            for pragma in PRAGMAS:
                connection.execute(pragma)
            migrate(connection, migrations())
        return connection


@contextmanager
def told_as_unavailable() -> Iterator[None]:
    """Turn what SQLite says of the file's present state into `StoreUnavailable`."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a promise of the schema was about to be broken: a bug of ours, not a state of the file
    except (sqlite3.DatabaseError, OSError) as error:
        raise StoreUnavailable(
            "the agent's database cannot be read or written now; nothing was changed", layers=[str(error)]
        ) from error


@contextmanager
def _told_as_unusable(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreUnusable as error:
        raise StoreUnusable(f"{path}: {error}") from None
    except sqlite3.OperationalError:
        raise  # locked, full, not to be opened: may pass
    except sqlite3.DatabaseError as error:
        raise StoreUnusable(
            f"{path}: {error}: move the file away and restore it from a backup, or let the agent begin a new one"
        ) from error


def _create_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the database: secrets pass through all three.
    # Only a new file: closing any descriptor of it would drop the locks that our connections hold on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
