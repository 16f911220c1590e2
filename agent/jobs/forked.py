"""Starts the command of a job by fork and exec, because importing `subprocess` would take a third of a job's time."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # see runner.py
import os
from io import FileIO

from agent.processes.errors import CommandNotStarted, start_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

NOT_STARTED = 127
"""The exit status that a shell gives for a command that could not be started."""
PR_SET_PDEATHSIG = 1
OF_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)
"""Signals that Python ignores and a command must not ignore."""


class Forked:
    """A command in its own process group, with pipes as from `subprocess.Popen`.

    The kernel kills it when this process dies, so that a lost job does not continue unnoticed. Only for a process
    without threads. Raises CommandNotStarted.
    """

    def __init__(self, argv: list[str], *, stdin: bool, env: Mapping[str, str], cwd: str, umask: int) -> None:
        if not argv:
            raise CommandNotStarted("no command was given")
        self._status: int | None = None
        self.stderr: IO[bytes] | None = None
        read_output, output = os.pipe()
        read_errno, errno = os.pipe()
        given, write_input = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None)
        runner = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(argv, (given, output, output), env, cwd, umask, runner, errno)
        for descriptor in (output, errno, given):
            os.close(descriptor)
        self.stdin: IO[bytes] | None = None if write_input is None else FileIO(write_input, "w")
        self.stdout: IO[bytes] | None = FileIO(read_output, "r")
        with open(read_errno, "rb", buffering=0) as file:
            if number := file.read():  # empty if the program runs, because exec closes the pipe
                self._refuse(argv[0], cwd, int(number))

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._awaited(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        status = self._awaited(0)
        assert status is not None
        return status

    def _awaited(self, options: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _refuse(self, program: str, cwd: str, number: int) -> None:
        self.wait()
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                pipe.close()
        raise CommandNotStarted(f"{program} {start_failure(program, cwd, OSError(number, os.strerror(number)))}")


def _become(
    argv: list[str],
    files: tuple[int, int, int],
    env: Mapping[str, str],
    cwd: str,
    umask: int,
    runner: int,
    errno: int,
) -> None:
    """In the child: execute the program, or write the number of the error to `errno` and exit."""
    try:
        os.setpgid(0, 0)
        _die_with(runner)
        for number in OF_PYTHON:
            _signal.signal(number, _signal.SIG_DFL)
        for number, descriptor in enumerate(files):
            os.dup2(descriptor, number)
        if umask >= 0:
            os.umask(umask)
        os.chdir(cwd)
        os.write(errno, b"%d" % _exec(argv, env))
    except OSError as error:
        os.write(errno, b"%d" % (error.errno or 0))
    finally:
        os._exit(NOT_STARTED)


def _exec(argv: list[str], env: Mapping[str, str]) -> int:
    """Execute the program; returns the number of the error if that failed."""
    why = 0
    for path in _candidates(argv[0], env):
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError) as error:
            why = why or error.errno or 0
        except OSError as error:
            why = error.errno or 0
            if not isinstance(error, PermissionError):
                break
    return why


def _candidates(program: str, env: Mapping[str, str]) -> Iterator[str]:
    if "/" in program:
        yield program
        return
    for folder in env.get("PATH", os.defpath).split(os.pathsep):
        yield os.path.join(folder, program)


def _die_with(runner: int) -> None:
    # Not `ctypes`: its import takes as long as all other imports of the runner. Imported in the child, in parallel.
    import _ctypes

    loaded = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: what this program has loaded already
    prctl = _ctypes.dlsym(loaded, "prctl")
    _ctypes.call_function(prctl, (PR_SET_PDEATHSIG, int(_signal.SIGKILL), 0, 0, 0))
    if os.getppid() != runner:
        os._exit(NOT_STARTED)
