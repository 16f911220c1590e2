"""One started command: one selector, in the calling thread, serves its pipes and awaits its end."""

from __future__ import annotations

import fcntl
import os
import selectors
import time
from contextlib import contextmanager, suppress
from functools import partial

from agent.processes.drain import drain
from agent.processes.errors import CommandError, CommandNotStarted
from agent.processes.process import KILL_WAIT, Group, Process
from agent.util.poll import pause_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, Protocol

    from agent.processes.transcript import Sink

    class Started(Protocol):
        """The part of `subprocess.Popen` that a child needs: the leader of a process group, with its pipes."""

        pid: int
        stdin: IO[bytes] | None
        stdout: IO[bytes] | None
        stderr: IO[bytes] | None

        def poll(self) -> int | None: ...

        def wait(self) -> int: ...

    class Stopping(Protocol):
        """The part of a `Stop` that is needed to notice it."""

        @property
        def requested(self) -> bool: ...

        @property
        def reason(self) -> str | None: ...

        def fileno(self) -> int: ...


CHUNK = 65536  # bytes moved at a time
HOUR = 3600.0  # seconds; a selector cannot wait longer


class Child:
    """A running command in a process group of its own. Call `close` for each.

    `start` starts it. `stdout` and `stderr` receive its output; without `stderr` both go to `stdout`. Raises
    `CommandNotStarted`.

    The command stays in the session of the agent: a daemon that it starts opens a session of its own, which
    distinguishes the two later.
    """

    def __init__(self, start: Callable[[], Started], *, stdin: bytes, stdout: Sink, stderr: Sink | None = None) -> None:
        self.exited = False
        self._unwritten = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        try:
            self._process = start()
        except CommandNotStarted:
            self._selector.close()
            raise
        self._pidfd: int | None = None
        try:
            self.group = Group(_identity(self._process.pid))
            self._pidfd = os.pidfd_open(self._process.pid)
            self._watch(stdout, stderr)
        except BaseException:
            self.close()
            raise

    def _watch(self, stdout: Sink, stderr: Sink | None) -> None:
        process, read, write = self._process, selectors.EVENT_READ, selectors.EVENT_WRITE
        assert self._pidfd is not None
        self._selector.register(self._pidfd, read, self._note_exit)
        for pipe, sink in ((process.stdout, stdout), (process.stderr, stderr)):
            if pipe is not None and sink is not None:
                os.set_blocking(pipe.fileno(), False)
                self._selector.register(pipe, read, partial(self._read, pipe, sink))
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin, write, partial(self._write, process.stdin))

    # Following it

    def follow(self, timeout: float | None, stop: Stopping | None) -> str | None:
        """Move its input and output until it exits, the timeout in seconds is over or a stop is requested.

        Returns None, "timeout" or the reason of the stop. Does not wait for other processes that hold its pipes open.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._noticing(stop):
            while not self.exited:
                if stop is not None and stop.requested:
                    return stop.reason
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return "timeout"
                self._serve(left)
        self._read_the_rest()
        return None

    def end(self, grace: float) -> None:
        """Send SIGTERM to its group, SIGKILL after `grace` seconds, and read the rest of its output.

        It may still run afterwards: if it hangs in the kernel, or runs as a user that the agent may not signal.
        """
        import signal

        self.group.ask_to_end()
        if not self._gone_within(grace):
            self.group.signal(signal.SIGKILL)
            self._gone_within(KILL_WAIT)
        self._read_the_rest()

    @property
    def status(self) -> int | None:
        """The exit status; negative: the signal that ended it; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Kill it if it still runs, and free its pipes.

        Processes that it left running may hold the pipes open: their output is read and discarded.
        """
        if self._process.poll() is None:
            self._kill()
        elif self._pidfd is not None:
            self._leave_pipes()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._pidfd is not None:
            os.close(self._pidfd)

    def _kill(self) -> None:
        import signal
        import threading

        with suppress(PermissionError, ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        threading.Thread(target=self._process.wait, daemon=True).start()

    def _leave_pipes(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed:
                drain(pipe.fileno())

    @contextmanager
    def _noticing(self, stop: Stopping | None) -> Iterator[None]:
        if stop is None:
            yield
            return
        self._selector.register(stop.fileno(), selectors.EVENT_READ, _nothing)
        try:
            yield
        finally:
            self._selector.unregister(stop.fileno())

    def _gone_within(self, seconds: float) -> bool:
        began = time.monotonic()
        while self.group.members():
            if (passed := time.monotonic() - began) >= seconds:
                return False
            self._serve_for(pause_after(passed))
        return True

    def _serve_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._serve(left)

    def _serve(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(None if seconds is None else min(seconds, HOUR)):
            key.data()

    # What the selector calls

    def _note_exit(self) -> None:
        assert self._pidfd is not None
        self.exited = True
        self._selector.unregister(self._pidfd)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            written = os.write(pipe.fileno(), self._unwritten[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # It does not want the rest.
            written = len(self._unwritten)
        self._unwritten = self._unwritten[written:]
        if not self._unwritten:
            self._hang_up(pipe)

    def _read(self, pipe: IO[bytes], sink: Sink) -> int:
        try:
            data = os.read(pipe.fileno(), CHUNK)
        except BlockingIOError:
            return 0
        if data:
            sink(data)
        else:
            self._hang_up(pipe)
        return len(data)

    def _hang_up(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    def _read_the_rest(self) -> None:
        """Read only what the pipes hold now: a daemon that it left behind may never stop writing."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj in (self._process.stdout, self._process.stderr):
                left = fcntl.fcntl(key.fd, fcntl.F_GETPIPE_SZ)
                while left > 0 and (got := key.data()):
                    left -= got


def _identity(pid: int) -> Process:
    found = Process.of(pid)
    if found is None:  # No other code waits for our children.
        raise CommandError(f"process {pid} was already reaped")
    return found


def _nothing() -> None:
    """Being woken is enough."""
