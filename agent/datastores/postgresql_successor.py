"""The new data directory of a PostgreSQL, made beside the old one: a rewound copy of the old data, or a copy of the
source."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql_connection import all_of, one
from agent.datastores.postgresql_control import read_control
from agent.datastores.postgresql_files import DataDirectory
from agent.datastores.postgresql_places import Place, size_of_tree
from agent.datastores.postgresql_primary import Primary
from agent.datastores.postgresql_work import Work, belongs_to_server
from agent.datastores.progress import Progress
from agent.hosts.command import Outcome

MEASURE_EVERY = 0.5
"""Seconds between two looks at how far a program is."""
CHECKPOINT_WITHIN = 600.0
"""Seconds within which a primary that was just promoted makes its first checkpoint."""
CHUNK = 16 * 1024 * 1024
SAID = 500
NOT_BY_THE_KERNEL = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
NOT_COPIED = ("postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "promote")
WAL_IS_MISSING = re.compile(
    r'could not (find previous WAL record|open file ".*pg_wal|read WAL record|find common ancestor)'
    r"|has already been removed"
)
KEEP_WAL = "wal_keep_size=1000000"
"""For the recovery: pg_rewind needs what the server wrote before the two parted."""
STREAMED = """
    SELECT max(backup_streamed) FROM pg_stat_progress_basebackup p JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name = %s
"""


class WalIsMissing(DatastoreError):
    """pg_rewind needs WAL that is gone, which calls for a copy."""


def rewind(data: DataDirectory, work: Work, primary: Primary, places: Sequence[Place], progress: Progress) -> Path:
    """Copy the old data, which is down, and rewind the copy. Raises `WalIsMissing`, `DatastoreError`."""
    control = read_control(data)
    progress("copying the data directory")
    new = _copy_of(data, work, places, progress)
    if not control.state.startswith("shut down"):
        progress("recovering from a crash")
        _recover(data, new)
    progress("pg_rewind")
    outcome = data.run("pg_rewind", f"--target-pgdata={new}", f"--source-server={primary.rewind_conninfo}")
    if not outcome.ok:
        said = last_words(outcome)
        raise (WalIsMissing if WAL_IS_MISSING.search(said) else DatastoreError)(f"pg_rewind: {said}")
    work.drop_foreign()
    return new


def copy(
    data: DataDirectory, work: Work, primary: Primary, slot: str, places: Sequence[Place], total: int | None,
    progress: Progress,
) -> Path:  # fmt: skip
    """Copy the source with pg_basebackup. The old data may be in use meanwhile. Raises `DatastoreError`."""
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
            "--wal-method=stream", "--checkpoint=fast", "--no-password", *options,
        )  # fmt: skip
    if not outcome.ok:
        raise DatastoreError(f"pg_basebackup: {last_words(outcome)}")
    work.drop_foreign()
    return new


def await_checkpoint(primary: Primary, timeline: int, progress: Progress) -> None:
    """Up to PostgreSQL 15 a primary that was just promoted shows pg_rewind its new timeline only after one."""
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


def last_words(outcome: Outcome) -> str:
    """How a program ended, with its last words and without its arguments."""
    said = " ".join((outcome.stderr.strip() or outcome.stdout.strip())[-SAID:].split())
    return said or outcome.describe()


@contextmanager
def measuring(progress: Progress, done: Callable[[], int | None], total: int | None) -> Iterator[None]:
    """Report the bytes done while a program runs."""
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
    """As the source says, where its account may see that; else by the size of what is there."""
    with suppress(DatastoreError), primary.target.connect() as connection:
        (streamed,) = all_of(connection, STREAMED, primary.sender.params.get("application_name", "pg_basebackup"))
        if streamed is not None:
            return int(streamed)
    return size_of_tree(new) if new.exists() else 0


def _copy_of(data: DataDirectory, work: Work, places: Sequence[Place], progress: Progress) -> Path:
    """A copy of the old data without what belongs to the server, which is moved at the switch."""
    new = work.clear_new()
    old, total, done = data.data, 0, 0
    trees = [(old, new), *((Path(each.now), Path(each.new)) for each in places)]
    total = sum(size_of_tree(source) for source, _ in trees)
    with data.as_owner():
        for source, target in trees:
            for file, copied in _files(source, target, top=source == old):
                done += _copy_file(file, copied)
                progress.measure(done, total)
        for place in places:
            (new / place.link).unlink()
            (new / place.link).symlink_to(place.new)
    return new


def _files(source: Path, target: Path, *, top: bool) -> Iterator[tuple[Path, Path]]:
    """The files to copy; directories and links are made on the way."""
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
    """By the kernel, which shares the blocks where the file system can; the bytes copied."""
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
    """pg_rewind takes a server that was shut down; the copy of one that was killed recovers first."""
    options = ["-c", f"config_file={data.config_file}", "-c", f"data_directory={new}", "-c", KEEP_WAL]
    outcome = data.run("postgres", "--single", "-D", str(new), *options, "template1")
    if not outcome.ok:
        raise WalIsMissing(f"it was not shut down cleanly and does not recover: {last_words(outcome)}")


def _escaped(path: str) -> str:
    return path.replace("=", "\\=")
