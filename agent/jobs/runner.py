"""Runs one job apart from the agent: `python -I -S runner.py DIRECTORY [NOTE]`.

Its start is part of the time of every job. So it imports little before the command runs, and the rest (following.py)
while the command runs; neither may import slow modules such as typing, json or subprocess. NOTE is a JSON string.
SIGTERM lets the job's command end, a second SIGTERM kills it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the part of `signal` in C: without its enums
import marshal
import os
import sys

# The folder that contains the package: -I and -S exclude it and the installed packages from the path.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from agent.jobs.forked import NOT_STARTED, Forked
from agent.processes.errors import CommandNotStarted
from agent.processes.process import Process
from agent.util import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agent.processes.process import Group


def main(directory: str, note: str = '""') -> None:
    """Take the job unless another runner has it, run it and write its result."""
    ending = SignalStop()
    if not _claim(directory, note):
        return
    request = _take_request(directory)
    atomic_files.sync(directory)  # before the command starts
    try:
        command = Forked(
            request["argv"],
            stdin=bool(request["stdin"]),
            env=request["env"],
            cwd=request["cwd"],
            umask=request["umask"],
        )
    except CommandNotStarted as error:
        from agent.jobs import following

        following.not_started(directory, request, str(error), NOT_STARTED)
    else:
        from agent.jobs import following

        following.follow(directory, request, command, ending)


class SignalStop:
    """Handles SIGTERM from the start of the process. Used as a `Stop`, without locks for threads."""

    reason = "stopped"

    def __init__(self) -> None:
        self.requested = False
        self.group: Group | None = None
        self.grace = float("inf")  # seconds for the command, until a second signal
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        _signal.signal(_signal.SIGTERM, self._handle)

    def fileno(self) -> int:
        """A descriptor that becomes readable with the first signal."""
        return self._eventfd

    def _handle(self, number: int, frame: object) -> None:
        if self.requested:
            self.grace = 0.0
            if self.group is not None:
                self.group.signal(_signal.SIGKILL)
        self.requested = True
        os.eventfd_write(self._eventfd, 1)


def _claim(directory: str, note: str) -> bool:
    me = Process.of(os.getpid())
    assert me is not None
    claim = f'{{"runner": {me.as_json()}, "note": {note}}}'
    try:
        return atomic_files.create(f"{directory}/claim", claim.encode(), sync_folder=False)
    except FileNotFoundError:  # the job was withdrawn and removed
        return False


def _take_request(directory: str) -> dict[str, Any]:
    """Read and remove the request, because it may contain secrets."""
    path = f"{directory}/request"
    with open(path, "rb") as file:
        request: dict[str, Any] = marshal.load(file)
    os.unlink(path)
    return request


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:])
    os._exit(0)  # all is written; the normal exit of the interpreter takes longer, and the agent waits for it
