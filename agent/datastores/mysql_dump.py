"""Everything of one server into another: a dump that is read in as it is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from agent.datastores.base import DatastoreError
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_dialect import Dialect
from agent.datastores.mysql_session import password_of

CHUNK = 1 << 18
TELL_EVERY = 1 << 26
"""Bytes between two words of progress."""
FIRST_DATABASE = b"\n-- Current Database: "
SAID = 500
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy(
    dialect: Dialect,
    source: Address,
    target: Address,
    programs: Path | None,
    *,
    begin: Callable[[], None],
    told: Callable[[int], None],
) -> int:
    """Read all of `source` into `target`, past its binary log; returns the bytes. `told` how many there are by now.

    `begin` is called when the dump is under way, and what `target` has may go. What is
    read passes through us, so that both programs end when we do.
    """
    dump, client = program(dialect.dump[0], programs), program(dialect.client, programs)
    quietly = {"init-command": "SET SESSION sql_log_bin = 0"}
    with (
        _option_file(source, dialect) as source_file,
        _option_file(target, dialect, quietly) as target_file,
        _Program([dump, *dialect.dump[1:]], source_file, stdout=subprocess.PIPE) as reading,
    ):
        first = _head(reading)
        begin()
        with _Program([client], target_file, stdin=subprocess.PIPE) as writing:
            copied = _pump(first, reading, writing, told)
            writing.finish()
    return copied


def program(name: str, programs: Path | None) -> str:
    """The path of a program. Raises `DatastoreError`, naming the option that tells where it is."""
    found = shutil.which(name, path=None if programs is None else str(programs))
    if found is None:
        raise DatastoreError(f"the program {name} is not found; datastore.programs tells where it is")
    return found


class _Program:
    """One of the two programs, with its file of options; what it has to say is kept apart."""

    def __init__(
        self, argv: list[str], options: int, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> None:
        self.name = Path(argv[0]).name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the program
        words = [argv[0], f"--defaults-file=/dev/fd/{options}", *argv[1:]]
        self._process = subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=self._errors, pass_fds=[options])

    @property
    def output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def finish(self) -> None:
        """Await its end. Raises `DatastoreError` with what it said where that is not a good one."""
        if (status := self._process.wait()) == 0:
            return
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-SAID:]
        raise DatastoreError(f"{self.name} failed with exit status {status}: {said}")

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        self._errors.close()


def _head(reading: _Program) -> bytes:
    """What comes up to the first database: from there on the dump has its locks and its place in the binary log."""
    head = b""
    while FIRST_DATABASE not in head:
        chunk = os.read(reading.output.fileno(), CHUNK)
        if not chunk:
            reading.finish()
            raise DatastoreError(f"{reading.name} wrote no database")
        head += chunk
    return head


def _pump(first: bytes, reading: _Program, writing: _Program, told: Callable[[int], None]) -> int:
    copied, chunk = 0, first
    try:
        while chunk:
            writing.input.write(chunk)
            if (copied + len(chunk)) // TELL_EVERY > copied // TELL_EVERY:
                told(copied + len(chunk))
            copied += len(chunk)
            chunk = os.read(reading.output.fileno(), CHUNK)
        reading.finish()  # first: what it left out must not look like the end
        writing.input.close()
    except BrokenPipeError:
        writing.finish()
        raise DatastoreError(f"{writing.name} stopped reading") from None
    return copied


@contextmanager
def _option_file(address: Address, dialect: Dialect, more: Mapping[str, str] | None = None) -> Iterator[int]:
    """How to connect, in a file without a name: arguments can be seen by others, and what is killed leaves no file."""
    where = {"socket": address.socket} if address.socket else {"host": address.host or "", "port": str(address.port)}
    options = {"user": address.user, "password": password_of(address) or "", **where, **(more or {})}
    options["protocol"] = "socket" if address.socket else "tcp"
    lines = "".join(f'{name}="{value.translate(ESCAPES)}"\n' for name, value in options.items())
    with open(os.memfd_create("options"), "wb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)  # one that others may write is ignored
        file.write(f"[client]\n{lines}{dialect.client_options}".encode())
        yield file.fileno()
