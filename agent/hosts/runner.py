"""Run one job apart from the agent: `python -I -S runner.py DIRECTORY [NOTE]`.

It imports no more than it needs: its start is a part of the time that every job takes.
SIGTERM asks the job's command to end, a second SIGTERM kills it.
"""

from __future__ import annotations

import binascii
import ctypes
import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.hosts import files
    from agent.hosts.child import Child, CommandNotStarted
    from agent.hosts.output import TailFile
    from agent.hosts.process import Process
    from agent.stop import Stop
else:
    # Only what is beside us: the whole package may bring a web framework with it.
    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from hosts import files
    from hosts.child import Child, CommandNotStarted
    from hosts.output import TailFile
    from hosts.process import Process
    from stop import Stop

GRACE = 10.0  # seconds between SIGTERM and SIGKILL for a job that took too long
NOT_STARTED = 127  # the exit status that a shell gives for it
PR_SET_PDEATHSIG = 1


def main(directory: Path, note: str = "") -> None:
    """Take the job, unless another runner has it, and write down how it ended."""
    ending = Ending()
    if not _claim(directory, note):
        return
    request = _take_request(directory)
    output = TailFile(directory / "output")
    try:
        result = _work(directory, request, output, ending)
    except CommandNotStarted as error:
        output.add(f"{error}\n".encode())
        result = {"status": NOT_STARTED, "ended": None}
    output.add(b"")  # A last try, if the disk was full.
    _write_result(directory, result)


class Ending:
    """What SIGTERM does, from the first moment on."""

    def __init__(self) -> None:
        self.stop = Stop()
        self.child: Child | None = None
        self.grace = math.inf  # seconds for the command, until a second signal
        signal.signal(signal.SIGTERM, self._asked)

    def _asked(self, number: int, frame: object) -> None:
        if self.stop.requested:
            self.grace = 0.0
            if self.child is not None:
                self.child.group.signal(signal.SIGKILL)
        self.stop.request("stopped")


def _claim(directory: Path, note: str) -> bool:
    me = Process.of(os.getpid())
    assert me is not None
    claim = {"runner": me._asdict(), "note": note}
    try:
        return files.create(directory / "claim", json.dumps(claim).encode())
    except FileNotFoundError:  # The job was given up and removed meanwhile.
        return False


def _take_request(directory: Path) -> dict[str, Any]:
    """What is to be done; it may hold secrets and so does not stay."""
    path = directory / "request"
    request: dict[str, Any] = json.loads(path.read_bytes())
    path.unlink()
    files.sync(directory)
    return request


def _work(directory: Path, request: dict[str, Any], output: TailFile, ending: Ending) -> dict[str, Any]:
    child = Child(
        request["argv"],
        stdin=binascii.a2b_base64(request["stdin"]),
        env=request["env"],
        cwd=request["cwd"],
        stdout=output.add,
        before_exec=_die_with(os.getpid()),
        umask=request["umask"],
    )
    ending.child = child
    try:
        with suppress(OSError):
            leader = json.dumps(child.group.leader._asdict()).encode()
            files.replace(directory / "command", leader, durable=False)
        ended = child.follow(request["timeout"], ending.stop)
        if ended is not None:
            child.end(GRACE if ended == "timeout" else ending.grace)
        return {"status": child.status, "ended": ended}
    finally:
        child.close()


def _die_with(runner: int) -> Any:
    """For the child: be killed when the runner is, so that a lost job does not go on unseen."""
    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != runner:
            os._exit(NOT_STARTED)

    return arrange


def _write_result(directory: Path, result: dict[str, Any]) -> None:
    """However long it takes: on a full disk the job counts as running until there is room."""
    while directory.exists():
        with suppress(OSError):
            return files.replace(directory / "result", json.dumps(result).encode())
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
    os._exit(0)  # all is written, and the agent waits for this end: the interpreter's own takes longer
