"""Agents forked from a process that has imported their modules: a tenth of the processor time of a start."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, NoReturn

from agent.store.migrate import migrations

LARGEST_REQUEST = 1 << 20
IMPORTED = (
    "gunicorn.app.wsgiapp",
    "gunicorn.arbiter",
    "agent.server.lifecycle",
    "agent.server.worker",
    "agent.server.logger",
    "agent.api",
    "agent.engine.engine",
    "agent.kinds.base.registry",
    "agent.store.enqueue",
    *(PACKAGES := ("agent.kinds", "agent.web", "agent.datastores", "agent.supervisors")),
)
"""Modules that an agent imports before it answers; of these packages all modules."""
DRIVERS = ("psycopg", "pymysql", "redis", "pymongo", "sdbus")
"""Third-party modules that they import."""
NOT_THE_SAME = ("sitecustomize.py", "usercustomize.py", "gunicorn", "agent", "flask", *DRIVERS)
"""Files in a directory of PYTHONPATH that change the imports of another interpreter."""


class Forked:
    """A process that `WarmStart` forked, used like a `subprocess.Popen`."""

    def __init__(self, pid: int, pidfd: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd, self._connection, self._lock = pidfd, connection, threading.Lock()

    def poll(self) -> int | None:
        """The exit code, None while the process runs."""
        with self._lock:
            if self.returncode is None and readable(self._connection, 0):
                self._ended()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Await the end and return the exit code; `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.poll() is None and not readable(self._connection, timeout):
            raise subprocess.TimeoutExpired(f"agent {self.pid}", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to this process, never to another one with its pid."""
        with self._lock, suppress(ProcessLookupError):
            if self.returncode is None:
                signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Send TERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send KILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self) -> None:
        answer = self._connection.recv(64)
        self._connection.close()
        os.close(self._pidfd)
        assert answer, "the process that forks agents has ended"
        self.returncode = int(answer)


class WarmStart:
    """Starts `python -m gunicorn …` by a fork of one process per test process; `close` ends that one."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], output: BinaryIO) -> Forked:
        """Start gunicorn with these arguments in a session of its own; it writes to `output`."""
        ours, theirs = socket.socketpair()
        request = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
        with self._lock:
            socket.send_fds(self._control(), [request], [theirs.fileno(), output.fileno()])
        theirs.close()
        answer, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
        assert answer, "the process that forks agents has ended"
        return Forked(int(answer), descriptors[0], ours)

    def close(self) -> None:
        """End the process that forks; the agents are not touched."""
        if self._process is not None:
            self._server.close()
            self._process.wait(10)
            self._process = None

    def _control(self) -> socket.socket:
        if self._process is None:
            self._server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for each in (self._server, theirs):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_REQUEST)
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("AGENT_", "GUNICORN_"))}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm_start", str(theirs.fileno())],
                cwd=self._checkout,
                env=kept | {"PYTHONPATH": str(self._checkout)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
        return self._server


def imports_the_same(env: Mapping[str, str]) -> bool:
    """Whether an interpreter with this environment would import the same modules as the forking process."""
    others = (name for name in env if name.startswith(("PYTHON", "LD_", "MALLOC_")) and name != "PYTHONPATH")
    if any(env[name] != os.environ.get(name) for name in others):
        return False
    paths = [Path(each) for each in env.get("PYTHONPATH", "").split(os.pathsep)]
    checkout = Path(__file__).parent.parent
    return checkout in paths and not any(
        (path / name).exists() for path in paths if path != checkout for name in NOT_THE_SAME
    )


def readable(connection: socket.socket, timeout: float | None) -> bool:
    """Whether data arrives, or the other end is closed, within `timeout` seconds."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


# The process that forks


def serve(control: socket.socket) -> tuple[list[str], str, dict[str, str], list[int]] | None:
    """Fork an agent for each request until the other end closes; returns the request in each child."""
    waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), waker], [], [])
        if waker in ready:
            with suppress(BlockingIOError):
                os.read(waker, 4096)
            report_ended(children)
        if control.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 2)
            if not message:
                return None
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                close_all(control.detach(), waker, woken, descriptors[0], *(c.detach() for c in children.values()))
                arguments, cwd, env = json.loads(message)
                return arguments, cwd, env, descriptors[1:]
            connection = children[pid] = socket.socket(fileno=descriptors[0])
            os.close(descriptors[1])
            pidfd = os.pidfd_open(pid)
            socket.send_fds(connection, [str(pid).encode()], [pidfd])
            os.close(pidfd)


def report_ended(children: dict[int, socket.socket]) -> None:
    """Report the ended children to their test process."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            with children.pop(found[0]) as connection, suppress(BrokenPipeError):
                connection.send(str(os.waitstatus_to_exitcode(found[1])).encode())


def close_all(*descriptors: int) -> None:
    for each in descriptors:
        os.close(each)


def become(arguments: list[str], cwd: str, env: dict[str, str], output: int) -> None:
    """Become `python -m gunicorn ARGUMENTS` in this directory and environment."""
    os.setsid()
    os.chdir(cwd)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(env)
    site = [each for each in sys.path if each not in ("", os.fspath(Path(__file__).parent.parent))]
    sys.path[:] = [cwd, *env["PYTHONPATH"].split(os.pathsep), *site]
    sys.argv[1:] = arguments
    # Its default is the working directory of the process that imported gunicorn: workers would change back to it.
    sys.modules["gunicorn.config"].Chdir.default = cwd
    # The arbiter sleeps between two checks of workers that must end.
    vars(sys.modules["gunicorn.arbiter"])["time"] = SimpleNamespace(**vars(time) | {"sleep": nap})
    try:
        runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        leave(end.code)


def nap(seconds: float) -> None:
    """Sleep a tenth of the time: the workers have ended by then."""
    time.sleep(seconds / 10)


def leave(code: object) -> NoReturn:
    """End like `sys.exit` without a cleanup of every module, which would take as long as a start.

    Called in the arbiter and in its workers.
    """
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def main() -> None:
    """Import what an agent imports, then serve."""
    for name in IMPORTED:
        importlib.import_module(name)
    for package in PACKAGES:
        for module in pkgutil.walk_packages(sys.modules[package].__path__, f"{package}."):
            importlib.import_module(module.name)
    migrations()
    gc.collect()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        arguments, cwd, env, (output,) = request
        become(arguments, cwd, env, output)


if __name__ == "__main__":
    main()
