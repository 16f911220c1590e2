"""Copy one server to another by a dump, which is complete on disk before it is loaded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.dialect import Dialect
from agent.datastores.mysql.programs import Program, option_file, program
from agent.datastores.mysql.session import Session
from agent.util import atomic_files

CHUNK = 1 << 18
TAIL = 4096
"""Bytes at the end of a dump that contain its end marker."""
END = b"-- Dump completed"
PAST_BINARY_LOG = {"init-command": "SET SESSION sql_log_bin = 0"}
HISTORY = "--dump-history"
VERSIONED = (
    "SELECT CONCAT(table_schema, '.', table_name) AS name FROM information_schema.tables "
    "WHERE table_type = 'SYSTEM VERSIONED'"
)
VIEWS = (
    "SELECT table_schema AS db, table_name AS name, engine, table_rows, table_comment AS comment "
    "FROM information_schema.tables WHERE table_type = 'VIEW'"
)
"""Selects columns for which MariaDB opens each view: only then it reports an invalid one."""
INVALID = "references invalid"
Measure = Callable[[int, int | None], None]


def invalid_views(session: Session) -> list[str]:
    """The views that refer to missing objects, as `database.view`: a dump cannot contain them."""
    return sorted(f"{row['db']}.{row['name']}" for row in session.run(VIEWS) if INVALID in str(row["comment"]))


def options_for(session: Session, programs: Path | None) -> list[str]:
    """Additional options for a dump of this server. Raises `DatastoreRefused` if the program lacks them."""
    options = [f"--ignore-table={each}" for each in invalid_views(session)]
    if versioned := [str(row["name"]) for row in session.run(VERSIONED)]:
        dump = program(session.dialect.dump[0], programs)
        if HISTORY not in subprocess.run([dump, "--help"], capture_output=True, text=True, check=False).stdout:
            raise DatastoreRefused(
                f"{dump} has no option {HISTORY}, and a copy would lose the history of the system-versioned tables "
                f"{', '.join(versioned)}"
            )
        options.append(HISTORY)
    return options


def write(
    dialect: Dialect, source: Address, file: Path, programs: Path | None, more: Sequence[str], measure: Measure,
    expected: int | None,
) -> int:  # fmt: skip
    """Dump all of `source` into `file`; returns its size in bytes. `measure` gets bytes done and `expected`.

    Raises `DatastoreError` and removes the file if the dump is incomplete.
    """
    argv = [program(dialect.dump[0], programs), *dialect.dump[1:], *more]
    try:
        with (
            open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as written,
            option_file(source, dialect) as options,
            Program(argv, options, stdout=subprocess.PIPE) as reading,
        ):
            size = 0
            while chunk := os.read(reading.output.fileno(), CHUNK):
                written.write(chunk)
                size += len(chunk)
                measure(size, expected)
            reading.finish()
            written.flush()
            os.fsync(written.fileno())
        atomic_files.sync(file.parent)
        _check_complete(file, size)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    return size


def read_in(dialect: Dialect, file: Path, target: Address, programs: Path | None, measure: Measure) -> None:
    """Load a dump into `target` without writing its binary log. Raises `DatastoreError`."""
    total = file.stat().st_size
    with (
        file.open("rb", buffering=0) as dump,
        option_file(target, dialect, PAST_BINARY_LOG) as options,
        Program([program(dialect.client, programs)], options, stdin=subprocess.PIPE) as writing,
    ):
        done = 0
        try:
            while chunk := dump.read(CHUNK):
                writing.input.write(chunk)
                done += len(chunk)
                measure(done, total)
            writing.input.close()
        except BrokenPipeError:
            writing.finish()
            raise DatastoreError(f"{writing.name} stopped reading") from None
        writing.finish()


def _check_complete(file: Path, size: int) -> None:
    with file.open("rb") as dump:
        on_disk = dump.seek(0, os.SEEK_END)
        dump.seek(max(0, on_disk - TAIL))
        if on_disk != size or END not in dump.read():
            raise DatastoreError(f"the dump ends after {on_disk} bytes without its end marker")
