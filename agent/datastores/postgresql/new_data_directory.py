"""Create the new data directory next to the old one: a rewound copy of the old data, or a copy of the source."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.connection import all_of, one
from agent.datastores.postgresql.control import read_control, unused_wal
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.primary import Primary
from agent.datastores.postgresql.rollback import WorkFolder, belongs_to_server
from agent.datastores.postgresql.tablespaces import TablespaceLink, size_of_tree
from agent.datastores.progress import ResyncProgress
from agent.processes.command import CommandResult
from agent.processes.recording import Recorded

MEASURE_EVERY = 0.5
"""Seconds between two measurements of a program's progress."""
CHECKPOINT_WITHIN = 600.0
"""Seconds to wait for the first checkpoint of a primary after its promotion."""
CHUNK = 16 * 1024 * 1024
LAST_WORDS = 500
"""Maximum characters of a program's output in a message."""
NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
NOT_COPIED = ("postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "promote")
WAL_IS_MISSING = re.compile(
    r'could not (find previous WAL record|open file ".*pg_wal|read WAL record|find common ancestor)'
    r"|has already been removed"
)
KEEP_WAL = "wal_keep_size=1000000"
"""Setting for crash recovery: pg_rewind needs the WAL from before the fork."""
STREAMED = """
    SELECT max(backup_streamed) FROM pg_stat_progress_basebackup p JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name = %s
"""


class WalIsMissing(DatastoreError):
    """pg_rewind needs WAL that no longer exists; a copy is necessary."""


def rewind(
    data: DataDirectory, work: WorkFolder, primary: Primary, places: Sequence[TablespaceLink], progress: ResyncProgress
) -> Path:
    """Copy the data of the stopped server and rewind the copy. Raises `WalIsMissing`, `DatastoreError`."""
    control = read_control(data)
    progress("copying the data directory")
    new = _copy_of(data, work, places, progress, without=unused_wal(data, control))
    if not control.state.startswith("shut down"):
        progress("recovering from a crash")
        _recover(data, new)
    progress("pg_rewind")
    outcome = data.run(
        "pg_rewind", f"--target-pgdata={new}", f"--source-server={primary.rewind_conninfo}", recorded=Recorded()
    )
    if not outcome.ok:
        message = last_words(outcome)
        raise (WalIsMissing if WAL_IS_MISSING.search(message) else DatastoreError)(f"pg_rewind: {message}")
    work.drop_foreign()
    return new


def copy(
    data: DataDirectory, work: WorkFolder, primary: Primary, slot: str, places: Sequence[TablespaceLink],
    total: int | None, progress: ResyncProgress,
) -> Path:  # fmt: skip
    """Copy the source with pg_basebackup; the old data may stay in use meanwhile. Raises `DatastoreError`."""
    progress("pg_basebackup")
    new = work.clear_new()
    options = [f"--slot={slot}"] if slot else []
    for place in places:
        if place.link == "pg_wal":
            options.append(f"--waldir={place.new}")
        elif place.new:
            options.append(f"--tablespace-mapping={_escaped(place.source)}={_escaped(place.new)}")
    with measuring(progress, lambda: _streamed(primary, new), total):
        outcome = data.run(
            "pg_basebackup", f"--pgdata={new}", f"--dbname={primary.conninfo}",
            "--wal-method=stream", "--checkpoint=fast", "--no-password", *options, recorded=Recorded(),
        )  # fmt: skip
    if not outcome.ok:
        raise DatastoreError(f"pg_basebackup: {last_words(outcome)}")
    work.drop_foreign()
    return new


def await_checkpoint(primary: Primary, timeline: int, progress: ResyncProgress) -> None:
    """Wait for a checkpoint: up to PostgreSQL 15, pg_rewind sees the new timeline of a promotion only after it."""
    statement = "SELECT timeline_id FROM pg_control_checkpoint()"
    with primary.target.connect() as connection:
        if one(connection, statement) == timeline:
            return
    progress("waiting for a checkpoint of the primary")
    with suppress(DatastoreError), primary.target.connect() as connection:
        connection.execute("CHECKPOINT")
    deadline = time.monotonic() + CHECKPOINT_WITHIN
    while True:
        with primary.target.connect() as connection:
            if one(connection, statement) == timeline:
                return
        if time.monotonic() > deadline:
            raise DatastoreError(f"{primary.target.address} makes no checkpoint on its timeline {timeline}")
        time.sleep(MEASURE_EVERY)


def last_words(outcome: CommandResult) -> str:
    """The last output of a failed program, or its exit; never its arguments."""
    output = " ".join((outcome.stderr.strip() or outcome.stdout.strip())[-LAST_WORDS:].split())
    return output or outcome.describe()


@contextmanager
def measuring(progress: ResyncProgress, done: Callable[[], int | None], total: int | None) -> Iterator[None]:
    """Report the progress in bytes while a program runs."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(MEASURE_EVERY):
            with suppress(DatastoreError, OSError):
                if (bytes_done := done()) is not None:
                    progress.measure(bytes_done, None if total is None else max(total, bytes_done))

    watcher = threading.Thread(target=look, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _streamed(primary: Primary, new: Path) -> int:
    """Bytes copied according to the source; if the account may not see it, the size of the new directory."""
    with suppress(DatastoreError), primary.target.connect() as connection:
        (streamed,) = all_of(connection, STREAMED, primary.sender.params.get("application_name", "pg_basebackup"))
        if streamed is not None:
            return int(streamed)
    return size_of_tree(new) if new.exists() else 0


def _copy_of(
    data: DataDirectory, work: WorkFolder, places: Sequence[TablespaceLink], progress: ResyncProgress,
    *, without: frozenset[Path],
) -> Path:  # fmt: skip
    """Copy the old data, except the files `without` and the server's own files, which are moved at the switch."""
    new = work.clear_new()
    old, done = data.data, 0
    trees = [(old, new), *((Path(each.now), Path(each.new)) for each in places)]
    with data.as_owner():
        found = chain.from_iterable(_files(source, target, top=source == old) for source, target in trees)
        files = [(file, copied) for file, copied in found if file not in without]
        total = sum(file.stat().st_size for file, _ in files)
        for file, copied in files:
            done += _copy_file(file, copied)
            progress.measure(done, total)
        for place in places:
            (new / place.link).unlink()
            (new / place.link).symlink_to(place.new)
    return new


def _files(source: Path, target: Path, *, top: bool) -> Iterator[tuple[Path, Path]]:
    """Yield the files to copy; directories and links are created immediately."""
    target.mkdir(mode=source.stat().st_mode & 0o777, exist_ok=True)
    for path in sorted(source.iterdir()):
        if top and (belongs_to_server(path.name) or path.name in NOT_COPIED):
            continue
        if path.is_symlink():
            (target / path.name).symlink_to(os.readlink(path))
        elif path.is_dir():
            yield from _files(path, target / path.name, top=False)
        elif path.is_file():
            yield path, target / path.name


def _copy_file(source: Path, target: Path) -> int:
    """Copy in the kernel, which shares blocks if the file system supports it; returns the bytes copied."""
    copied = 0
    with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        os.fchmod(new.fileno(), os.fstat(old.fileno()).st_mode & 0o777)
        try:
            while (more := os.copy_file_range(old.fileno(), new.fileno(), CHUNK)) > 0:
                copied += more
        except OSError as error:
            if error.errno not in NOT_BY_THE_KERNEL:
                raise
            shutil.copyfileobj(old, new, CHUNK)
            copied = old.tell()
    return copied


def _recover(data: DataDirectory, new: Path) -> None:
    """Run crash recovery on the copy: pg_rewind requires data of a clean shutdown."""
    options = ["-c", f"config_file={data.config_file}", "-c", f"data_directory={new}", "-c", KEEP_WAL]
    outcome = data.run("postgres", "--single", "-D", str(new), *options, "template1", recorded=Recorded())
    if not outcome.ok:
        raise WalIsMissing(f"it was not shut down cleanly and does not recover: {last_words(outcome)}")


def _escaped(path: str) -> str:
    return path.replace("=", "\\=")
