"""Run a second server on this host for the copy's data directory, with the same program and settings.

It listens only on a socket file, follows no source, and ends with this process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.data_directory import DataDirectory
from agent.datastores.mysql.programs import REPEATED, program
from agent.datastores.mysql.server_process import is_up
from agent.processes.process import Process
from agent.util.poll import poll

START_WAIT = 300.0
"""Seconds for the start of the second server, which may run crash recovery."""
STOP_WAIT = 900.0
BUFFER = 128 << 20
"""Maximum bytes of its buffer pool: it runs in addition to the server itself."""
LONGEST_SOCKET = 107
QUIET = (
    "--skip-networking", "--event-scheduler=OFF", "--general-log=OFF", "--slow-query-log=OFF", "--skip-log-bin",
    "--read-only=OFF", "--loose-super-read-only=OFF", "--loose-mysqlx=OFF", "--loose-wsrep-on=OFF",
    "--innodb-fast-shutdown=1", "--loose-performance-schema=OFF", "--loose-auto-generate-certs=OFF",
    "--loose-sha256-password-auto-generate-rsa-keys=OFF", "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
    "--loose-innodb-buffer-pool-load-at-startup=OFF", "--loose-innodb-buffer-pool-dump-at-shutdown=OFF",
)  # fmt: skip
SKIP_START = {"MariaDB": "--skip-slave-start", "MySQL": "--skip-replica-start"}
DEFAULTS = ("--defaults-file", "--defaults-extra-file", "--defaults-group-suffix", "--no-defaults")


@dataclass(frozen=True, slots=True)
class Origin:
    """Command line, directory and user of the running server, read from /proc."""

    executable: str
    words: tuple[str, ...]
    directory: str
    uid: int
    gid: int

    @classmethod
    def of(cls, process: Process) -> Origin:
        """Read them. Raises `DatastoreError` without the permission."""
        proc = Path(f"/proc/{process.pid}")
        try:
            words = (proc / "cmdline").read_text().rstrip("\0").split("\0")
            stat = proc.stat()
            return cls(os.readlink(proc / "exe"), tuple(words[1:]), os.readlink(proc / "cwd"), stat.st_uid, stat.st_gid)
        except OSError as error:
            raise DatastoreError(f"the command line of the server cannot be read: {error.strerror}") from None

    def words_with(self, *more: str) -> list[str]:
        """The server's arguments, followed by others that override them."""
        first = [each for each in self.words if each.startswith(DEFAULTS)]
        return [*first, *(each for each in self.words if each not in first), *more]


class SecondServer:
    """The second server, of `product`, on the directory `place.new`. It ends with its `with` block."""

    def __init__(self, origin: Origin, place: DataDirectory, product: str, programs: Path | None) -> None:
        self._origin, self._place, self._product, self._programs = origin, place, product, programs
        self._log = place.work / "spare.log"
        self._running: subprocess.Popen[bytes] | None = None
        socket = str(place.work / "s.sock")
        if len(socket) > LONGEST_SOCKET:
            raise DatastoreError(f"the path {socket} is too long for a socket")
        self.address = Address("root", socket=socket)

    def create(self) -> None:
        """Create an empty data directory, in which root has no password. Raises `DatastoreError`."""
        common = [f"--datadir={self._place.new}", f"--tmpdir={self._temporary()}", "--skip-log-bin"]
        if self._product == "MySQL":
            more = [f"--log-error={self._log}", "--loose-mysqlx=OFF", "--loose-super-read-only=OFF", "--read-only=OFF"]
            self._run([self._origin.executable, *self._origin.words_with(*common, *more, "--initialize-insecure")])
            return
        more = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        self._run([program("mariadb-install-db", self._programs), *self._origin.words_with(*common, *more)])

    def start(self, *, open_to_all: bool = False) -> None:
        """Start it and wait until it answers. `open_to_all`: without authentication, as its accounts are unknown."""
        pool = f"--innodb-buffer-pool-size={BUFFER}"
        words = self._origin.words_with(
            f"--datadir={self._place.new}", f"--tmpdir={self._temporary()}", f"--socket={self.address.socket}",
            f"--pid-file={self._place.work / 'spare.pid'}", f"--log-error={self._log}", pool, *QUIET,
            SKIP_START[self._product], *(["--skip-grant-tables"] if open_to_all else []),
        )  # fmt: skip
        self._running = self._popen([self._origin.executable, *words])
        process = self._running
        over = poll(lambda: self._answers() or process.poll() is not None, START_WAIT)
        if (status := process.poll()) is not None:
            raise DatastoreError(f"the second server ended with exit status {status}: {self._last_errors()}")
        if not over:
            raise DatastoreError(f"the second server does not answer after {START_WAIT:g} s: {self._last_errors()}")

    def stop(self) -> None:
        """Shut down cleanly: all data is then in the files. Raises `DatastoreError`."""
        self.ask_to_stop()
        self.await_stop()

    def ask_to_stop(self) -> None:
        """Begin a clean shutdown."""
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)

    def await_stop(self) -> None:
        """Wait until it has shut down. Raises `DatastoreError`."""
        assert self._running is not None
        try:
            status = self._running.wait(STOP_WAIT)
        except subprocess.TimeoutExpired:
            raise DatastoreError(f"the second server has not shut down in {STOP_WAIT:g} s") from None
        self._running = None
        if status:
            raise DatastoreError(f"the second server shut down with exit status {status}: {self._last_errors()}")

    def __enter__(self) -> SecondServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None

    def _temporary(self) -> Path:
        """A separate folder for temporary files: a starting server deletes all temporary tables in its folder."""
        directory = self._place.work / "tmp"
        if not directory.exists():
            directory.mkdir(mode=0o700)
            os.chown(directory, self._origin.uid, self._origin.gid)
        return directory

    def _answers(self) -> bool:
        with suppress(DatastoreError):
            return is_up(self.address, START_WAIT)
        return False

    def _run(self, argv: Sequence[str]) -> None:
        process = self._popen(argv)
        try:
            status = process.wait(STOP_WAIT)
        finally:
            process.kill()
            process.wait()
        if status:
            raise DatastoreError(f"{Path(argv[0]).name} failed with exit status {status}: {self._last_errors()}")

    def _popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program as the server's owner; the kernel ends it when this process ends."""
        bound = [] if (setpriv := shutil.which("setpriv")) is None else [setpriv, "--pdeathsig", "KILL", "--"]
        root = os.geteuid() == 0
        with open(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb") as log:
            if root:
                os.fchown(log.fileno(), self._origin.uid, self._origin.gid)
            return subprocess.Popen(
                [*bound, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._origin.directory,
                user=self._origin.uid if root else None, group=self._origin.gid if root else None,
                extra_groups=[] if root else None,
            )  # fmt: skip

    def _last_errors(self) -> str:
        """The last errors in its log, on one line."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return "no log"
        errors = [line for line in lines if "ERROR" in line] or lines
        return " ".join(" ".join(errors[-3:]).split())[-REPEATED:]
