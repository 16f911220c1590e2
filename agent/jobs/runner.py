"""Run one job apart from the agent: `python -I -S runner.py DIRECTORY [NOTE]`.

Its start is a part of the time that every job takes. So it loads little before the command runs, and meanwhile the
rest (following.py); neither may load what is slow to load, such as typing, json or subprocess. NOTE is a JSON string.
SIGTERM asks the job's command to end, a second SIGTERM kills it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the part of `signal` in C: without its enums
import marshal
import os
import sys

# The folder that holds the package: -I leaves it out of the path, -S the folder of installed packages.
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
    """Take the job, unless another runner has it, and write down how it ended."""
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
    """What SIGTERM does, from the first moment on. Followed as a `Stop`, without the locks that threads need."""

    reason = "stopped"

    def __init__(self) -> None:
        self.requested = False
        self.group: Group | None = None
        self.grace = float("inf")  # seconds for the command, until a second signal
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        _signal.signal(_signal.SIGTERM, self._asked)

    def fileno(self) -> int:
        """A descriptor that is readable from the first signal on."""
        return self._eventfd

    def _asked(self, number: int, frame: object) -> None:
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
    except FileNotFoundError:  # The job was given up and removed meanwhile.
        return False


def _take_request(directory: str) -> dict[str, Any]:
    """What is to be done; it may hold secrets and so does not stay."""
    path = f"{directory}/request"
    with open(path, "rb") as file:
        request: dict[str, Any] = marshal.load(file)
    os.unlink(path)
    return request


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:])
    os._exit(0)  # all is written, and the agent waits for this end: the interpreter's own takes longer
