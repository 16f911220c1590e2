"""The client programs of a server: where they are, how they log in, and their end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from agent.datastores.base import DatastoreError
from agent.datastores.mysql_address import Address
from agent.datastores.mysql_dialect import Dialect
from agent.datastores.mysql_session import password_of

SAID = 500
"""Characters of a program's error output that a message repeats."""
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def program(name: str, programs: Path | None) -> str:
    """The path of a program. Raises `DatastoreError`, naming the option that tells where it is."""
    found = shutil.which(name, path=None if programs is None else str(programs))
    if found is None:
        raise DatastoreError(f"the program {name} is not found; datastore.programs tells where it is")
    return found


class Program:
    """One run of a client program with its option file. It ends with this process and with the `with` block."""

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

    def kill(self) -> None:
        self._process.kill()

    def finish(self) -> None:
        """Await its end. Raises `DatastoreError` with its error output where the exit status is not 0."""
        if (status := self._process.wait()) == 0:
            return
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-SAID:]
        raise DatastoreError(f"{self.name} failed with exit status {status}: {said}")

    def __enter__(self) -> Program:
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


@contextmanager
def option_file(address: Address, dialect: Dialect, more: Mapping[str, str] | None = None) -> Iterator[int]:
    """How to connect, in a file without a name: arguments can be seen by others, and what is killed leaves no file."""
    where = {"socket": address.socket} if address.socket else {"host": address.host or "", "port": str(address.port)}
    options = {"user": address.user, "password": password_of(address) or "", **where, **(more or {})}
    options["protocol"] = "socket" if address.socket else "tcp"
    lines = "".join(f'{name}="{value.translate(ESCAPES)}"\n' for name, value in options.items())
    with open(os.memfd_create("options"), "wb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)  # one that others may write is ignored
        file.write(f"[client]\n{lines}{dialect.client_options}".encode())
        yield file.fileno()
