"""Run the client programs of a server: their paths, their login and their end."""

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
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.dialect import Dialect
from agent.datastores.mysql.session import password_of
from agent.processes.recording import current

REPEATED = 500
"""Maximum characters of a program's error output in a message."""
ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def program(name: str, programs: Path | None) -> str:
    """The path of a program. Raises `DatastoreError`, which names the option that sets the folder."""
    found = shutil.which(name, path=None if programs is None else str(programs))
    if found is None:
        raise DatastoreError(f"the program {name} is not found; set datastore.programs to its folder")
    return found


class Program:
    """One run of a client program with its option file. The program ends with this process or the `with` block."""

    def __init__(
        self, argv: list[str], options: int, *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
    ) -> None:
        self.name = Path(argv[0]).name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the program ends
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
        """Wait until the program ends. Raises `DatastoreError` with its error output on a non-zero exit status."""
        status = self._process.wait()
        self._errors.seek(0)
        errors = self._errors.read().decode(errors="replace").strip()
        if errors and (transcript := current()) is not None:
            transcript.say(errors)
        if status == 0:
            return
        raise DatastoreError(f"{self.name} failed with exit status {status}: {errors[-REPEATED:]}")

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
    """The option file with the login, without a name: not visible like arguments, and no file remains after a kill."""
    where = {"socket": address.socket} if address.socket else {"host": address.host or "", "port": str(address.port)}
    options = {"user": address.user, "password": password_of(address) or "", **where, **(more or {})}
    options["protocol"] = "socket" if address.socket else "tcp"
    lines = "".join(f'{name}="{value.translate(ESCAPES)}"\n' for name, value in options.items())
    with open(os.memfd_create("options"), "wb", buffering=0) as file:
        os.fchmod(file.fileno(), 0o600)  # the programs ignore a world-writable file
        file.write(f"[client]\n{lines}{dialect.client_options}".encode())
        yield file.fileno()
