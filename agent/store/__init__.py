"""The agent's SQLite database: connections, transactions, and the translation of SQLite's errors."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from agent import clock
from agent.errors import StoreUnavailable, StoreUnusable
from agent.store import copies
from agent.store.audit_chain import chained
from agent.store.commit_times import CommitTimes
from agent.store.migrate import migrate, migrations, refuse_foreign, refuse_newer, version

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another connection's lock on the file."""

SCRUB_TIMEOUT = 0.1
"""Seconds to wait for readers before truncating the log is postponed; writers wait meanwhile."""

SCRUB_RETRY = 1.0
"""Seconds until the next attempt to truncate the log."""

CHECKED_SIZE = 64 * 1024 * 1024
"""Bytes: a file up to this size (some 200,000 actions) is checked for damage at the start, in about a second."""

LOG_SIZE = 8 * 1024 * 1024
"""Bytes of the write-ahead log that stay allocated; it grows beyond them only while a reader prevents its reset."""

PRAGMAS: tuple[str, ...] = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # an erased secret leaves no bytes behind
    "PRAGMA trusted_schema = ON",  # the triggers of the audit trail call a function of ours
    f"PRAGMA journal_size_limit = {LOG_SIZE}",
    "PRAGMA cache_size = -512",  # KiB per connection: the host's memory belongs to the datastore
)


class Store:
    """The database of one agent. The first use opens and migrates it.

    Every method raises `StoreUnavailable` if the file cannot be read or written now. `open` raises `StoreUnusable` if
    the file is damaged or not a database that this agent can use.
    """

    def __init__(self, path: Path, *, copies_before_change: bool = True) -> None:
        self.path = path
        self.commit_times = CommitTimes()
        self._copies_before_change = copies_before_change
        self._opening = threading.Lock()
        self._readers: list[sqlite3.Connection] = []  # not in use
        self._closed = 0  # calls of `close`
        self._snapshots = threading.local()
        self._writer: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._scrubbed = False  # a previous process may have left erased secrets in the log
        self._scrub_again = 0.0

    def read(self, sql: str, parameters: dict[str, Any] | tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """All rows of one SELECT. Raises `StoreUnavailable`."""
        with raised_as_unavailable(), self._reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A read transaction: all reads of this thread inside it see the database as of one moment."""
        outer: sqlite3.Connection | None = getattr(self._snapshots, "connection", None)
        if outer is not None:
            yield outer
            return
        with raised_as_unavailable(), self._reading() as connection:
            connection.execute("BEGIN")
            self._snapshots.connection = connection
            try:
                yield connection
            finally:
                self._snapshots.connection = None
                connection.execute("ROLLBACK")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction and return its result. On disk on return; rolled back if `work` raises."""
        with self._turn, raised_as_unavailable():
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                value = work(connection)
                with self.commit_times.measured():
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        return value

    def write_one(self, sql: str, parameters: dict[str, Any] | tuple[Any, ...]) -> int:
        """Run one statement as a transaction of its own; returns the number of written rows."""
        with self._turn, raised_as_unavailable():
            connection = self._writing()
            with self.commit_times.measured():
                return connection.execute(sql, parameters).rowcount

    def secret_erased(self) -> None:
        """Note, inside `write`, that a secret was erased from a row: the write-ahead log still has its bytes."""
        self._scrubbed = False

    def wipe_secrets(self) -> bool:
        """After an erased secret, checkpoint and truncate the write-ahead log. False while that is postponed."""
        if self._scrubbed or clock.monotonic() < self._scrub_again or not self._turn.acquire(timeout=SCRUB_TIMEOUT):
            return self._scrubbed
        try:
            with raised_as_unavailable():
                self._scrubbed = _truncate_log(self._writing())
        finally:
            self._scrub_again = clock.monotonic() + SCRUB_RETRY if not self._scrubbed else 0.0
            self._turn.release()
        return self._scrubbed

    def vacuum(self) -> None:
        """Rewrite the file without its free pages (VACUUM); writers wait meanwhile."""
        with self._turn, raised_as_unavailable():
            connection = self._writing()
            connection.execute("VACUUM")
            _truncate_log(connection)

    def open(self) -> None:
        """Open, migrate and check the database. Raises `StoreUnusable` or `StoreUnavailable`."""
        with self._turn, raised_as_unavailable(but=(StoreUnusable,)):
            connection = self._writing()
            if not os.access(self.path, os.W_OK):
                raise OSError(errno.EACCES, "it cannot be written")
            if self.path.stat().st_size <= CHECKED_SIZE:
                with _raised_as_unusable(self.path):
                    _refuse_damaged(connection)

    def close(self) -> None:
        """Close all connections; one in use is closed when its read ends."""
        with self._turn:
            self._closed += 1
            writer, self._writer = self._writer, None
            readers, self._readers = self._readers, []
            for connection in filter(None, [writer, *readers]):
                connection.close()

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection of this thread's snapshot, else one of a pool as large as the most concurrent reads."""
        if (snapshot := getattr(self._snapshots, "connection", None)) is not None:
            yield snapshot
            return
        closed, readers = self._closed, self._readers
        try:
            connection = readers.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            readers.append(connection)
            if closed != self._closed:
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        with self._opening, _raised_as_unusable(self.path):
            _create_private(self.path)
            # One thread at a time uses a connection, but not always the same thread.
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, self.path if self._copies_before_change else None)
            except BaseException:
                connection.close()
                raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path | None) -> None:
    """Configure the connection and migrate the file, after a copy beside `path`. A foreign file stays unchanged."""
    connection.row_factory = sqlite3.Row
    connection.create_function("chained", 9, chained, deterministic=True)
    refuse_foreign(connection)
    refuse_newer(connection, migrations())
    if not connection.execute("PRAGMA schema_version").fetchone()[0]:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for pragma in PRAGMAS:
        connection.execute(pragma)
    if path is not None and 0 < version(connection) < migrations()[-1].number:
        copy_before_change(connection, path)
    migrate(connection, migrations())


def copy_before_change(connection: sqlite3.Connection, path: Path) -> Path:
    """Copy the database beside itself, before its schema changes; returns where. Raises `OSError`, `sqlite3.Error`."""
    schema = version(connection)
    copy = path.with_name(f"{path.name}.schema-{schema}")
    copies.make(connection, copy, schema=schema)
    return copy


def _refuse_damaged(connection: sqlite3.Connection) -> None:
    found = " ".join(str(connection.execute("PRAGMA quick_check(1)").fetchone()[0]).split())
    if found != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged: {found}")


def _truncate_log(connection: sqlite3.Connection) -> bool:
    """Truncate the write-ahead log. False while a reader uses it: SQLite cannot truncate it then."""
    _wait_for_locks(connection, SCRUB_TIMEOUT)
    try:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        _wait_for_locks(connection, BUSY_TIMEOUT)
    return not busy


def _wait_for_locks(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")


@contextmanager
def raised_as_unavailable(*, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise errors of SQLite and the file system as `StoreUnavailable`, except violated constraints and `but`."""
    # A violated constraint is a bug of the agent, not a state of the file.
    kept: tuple[type[Exception], ...] = (sqlite3.IntegrityError, *but)
    try:
        yield
    except kept:
        raise
    except (sqlite3.DatabaseError, OSError, StoreUnusable) as error:
        raise StoreUnavailable(
            "the agent's database cannot be read or written now; nothing was changed", layers=[str(error)]
        ) from error


@contextmanager
def _raised_as_unusable(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreUnusable as error:
        raise StoreUnusable(f"{path}: {error}") from None
    except sqlite3.OperationalError:
        raise  # locked, full, cannot be opened: may pass
    except sqlite3.DatabaseError as error:
        raise StoreUnusable(
            f"{path}: {error}: move the file away and restore it from a backup, or let the agent begin a new one"
        ) from error


def _create_private(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the database: secrets pass through all three.
    # Only a new file is opened: closing any descriptor of the file would drop the locks of our connections.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
