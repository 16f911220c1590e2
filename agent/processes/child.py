"""One running command. The calling thread serves its pipes and waits for its end in one poll."""

from __future__ import annotations

import fcntl
import os
import select
import time
from contextlib import contextmanager, suppress
from functools import partial

from agent.processes.drain import drain
from agent.processes.errors import CommandError
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
        """The part of a `Stop` that a child needs."""

        @property
        def requested(self) -> bool: ...

        @property
        def reason(self) -> str | None: ...

        def fileno(self) -> int: ...


CHUNK = 65536  # bytes moved at a time
HOUR = 3600.0  # seconds; a poll cannot wait much longer


class Child:
    """A running command in its own process group. Call `close` for each.

    `start` starts it. `stdout` and `stderr` receive its output; without `stderr` both go to `stdout`. Raises
    `CommandNotStarted`.

    The command stays in the agent's session. A daemon that it starts opens its own session, which distinguishes them
    later.
    """

    def __init__(self, start: Callable[[], Started], *, stdin: bytes, stdout: Sink, stderr: Sink | None = None) -> None:
        self.exited = False
        self._unwritten = memoryview(stdin)
        # Not `selectors`: the runner of a job would have to import it, while the command waits to be followed.
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], int | None]] = {}
        self._process = start()
        self._pidfd: int | None = None
        try:
            self.group = Group(_identity(self._process.pid))
            self._pidfd = os.pidfd_open(self._process.pid)
            self._watch(stdout, stderr)
        except BaseException:
            self.close()
            raise

    def _watch(self, stdout: Sink, stderr: Sink | None) -> None:
        process = self._process
        assert self._pidfd is not None
        self._register(self._pidfd, select.POLLIN, self._note_exit)
        for pipe, sink in ((process.stdout, stdout), (process.stderr, stderr)):
            if pipe is not None and sink is not None:
                os.set_blocking(pipe.fileno(), False)
                self._register(pipe.fileno(), select.POLLIN, partial(self._read, pipe, sink))
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._register(process.stdin.fileno(), select.POLLOUT, partial(self._write, process.stdin))

    def _register(self, descriptor: int, event: int, callback: Callable[[], int | None]) -> None:
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, event)

    def _unregister(self, descriptor: int) -> None:
        del self._callbacks[descriptor]
        self._poll.unregister(descriptor)

    # Follow

    def follow(self, timeout: float | None, stop: Stopping | None) -> str | None:
        """Move its input and output until it exits, `timeout` seconds have passed or a stop is requested.

        Returns None, "timeout" or the reason of the stop. Does not wait for other processes that hold its pipes open.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._polling_stop(stop):
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

        It may still run afterwards if it hangs in the kernel, or if the agent may not signal its user.
        """
        import signal

        self.group.terminate()
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

        The output of processes that it left running, which may hold the pipes open, is read and discarded.
        """
        if self._process.poll() is None:
            self._kill()
        elif self._pidfd is not None:
            self._leave_pipes()
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
    def _polling_stop(self, stop: Stopping | None) -> Iterator[None]:
        if stop is None:
            yield
            return
        self._register(stop.fileno(), select.POLLIN, _nothing)
        try:
            yield
        finally:
            self._unregister(stop.fileno())

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
        milliseconds = None if seconds is None else min(seconds, HOUR) * 1000
        for descriptor, _ in self._poll.poll(milliseconds):
            self._callbacks[descriptor]()

    # Callbacks of the poll

    def _note_exit(self) -> None:
        assert self._pidfd is not None
        self.exited = True
        self._unregister(self._pidfd)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            written = os.write(pipe.fileno(), self._unwritten[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command does not read the rest
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
        self._unregister(pipe.fileno())
        pipe.close()

    def _read_the_rest(self) -> None:
        """Read only the present content of the pipes: a daemon that the command left may write without end."""
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None and not pipe.closed and (read := self._callbacks.get(pipe.fileno())):
                left = fcntl.fcntl(pipe.fileno(), fcntl.F_GETPIPE_SZ)
                while left > 0 and (got := read()):
                    left -= got


def _identity(pid: int) -> Process:
    found = Process.of(pid)
    if found is None:  # impossible: no other code waits for the agent's children
        raise CommandError(f"process {pid} was already reaped")
    return found


def _nothing() -> None:
    """Do nothing: `follow` checks the stop after each poll."""
