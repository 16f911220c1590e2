"""Helpers of every test server: a free port, a started process, waiting for a condition, a stop by pid."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Fact = TypeVar("Fact")

FIRST_PORT, EPHEMERAL_PORTS, SHARES = 10_000, 32_768, 8
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def free_port() -> int:
    """A TCP port of the loopback address without a listener, below those that the kernel gives to connections.

    A server may need seconds until it listens; meanwhile the kernel would assign its ephemeral ports to others. Each
    process of a run has its own range, and never returns a port twice.
    """
    while True:
        port = next(_ports)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _own_ports() -> Iterator[int]:
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % SHARES
    ports = [*range(FIRST_PORT + own, EPHEMERAL_PORTS, SHARES)]
    random.shuffle(ports)
    return itertools.cycle(ports)


_ports = _own_ports()


def await_that(fact: Callable[[], Fact], timeout: float = 10.0, what: str = "the fact") -> Fact:
    """Call `fact` until its result is true and return it; TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        answer = fact()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(pause_after(time.monotonic() - begun))


def pause_after(took: float) -> float:
    """Seconds until the next check: twice the duration of the last one, which leaves processor time to others."""
    return min(max(0.02, 2 * took), 0.2)


def start_process(
    argv: Sequence[str | Path],
    log: Path,
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start argv in a new session, its output appended to `log`, as `user` if this process is root."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ if env is None else env),
            cwd=cwd or log.parent,
            start_new_session=True,
            user=user if is_root() else None,
            group=user if user and is_root() else None,
            extra_groups=[] if user and is_root() else None,
        )


def run(argv: Sequence[str | Path], timeout: float = 60, **options: object) -> str:
    """Run argv to its end and return its output; RuntimeError with the output if it fails."""
    words = [str(word) for word in argv]
    done = subprocess.run(  # type: ignore[call-overload]
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **options
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr or done.stdout}")
    return str(done.stdout)


def is_alive(pid: int) -> bool:
    """Whether the process `pid` runs; a zombie does not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def stop_pid(pid: int | None, timeout: float = 10.0, sig: int = signal.SIGTERM) -> None:
    """End a process with TERM (or `sig`), and with KILL once `timeout` seconds have passed."""
    if pid is None or not is_alive(pid):
        return
    send(pid, sig)
    try:
        await_that(lambda: not is_alive(pid), timeout, f"the end of pid {pid}")
    except TimeoutError:
        kill_pid(pid)


def kill_pid(pid: int | None) -> None:
    """Kill a process and wait until it is gone."""
    if pid is None or not is_alive(pid):
        return
    send(pid, signal.SIGKILL)
    await_that(lambda: not is_alive(pid), 10, f"the end of pid {pid} after KILL")


def send(pid: int, sig: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


def pid_in(pidfile: Path, name: str) -> int | None:
    """The pid in a pidfile's first line while a process of this name has it, else None."""
    try:
        pid = int(pidfile.read_text().split()[0])
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None
    return pid if comm == name and is_alive(pid) else None


def program(name: str) -> str:
    """The full path of an installed program; FileNotFoundError names what is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{BASE_PATH}")
    if not found:
        raise FileNotFoundError(f"{name} is not installed: .ci/servers installs it")
    return found


def is_root() -> bool:
    """Whether this process may act as any user."""
    return os.geteuid() == 0


def open_to(user: str, directory: Path) -> Path:
    """Make `user` the owner of the directory (if root) and its parents passable for others."""
    directory.mkdir(parents=True, exist_ok=True)
    if is_root():
        shutil.chown(directory, user, user)
        for above in directory.parents:
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
    return directory


@contextlib.contextmanager
def locked(path: Path, how: int) -> Iterator[int]:
    """The descriptor of a file or directory while it is locked."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


if __name__ == "__main__":  # the stop command of a server: PIDFILE NAME SECONDS SIGNAL
    stop_pid(pid_in(Path(sys.argv[1]), sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
