"""Follows the command of a job to its end and writes its result. runner.py says what this module may import."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress

from agent.processes.child import Child
from agent.processes.output import TailFile
from agent.processes.transcript import Transcript, both
from agent.util import atomic_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from agent.jobs.forked import Forked
    from agent.jobs.runner import SignalStop
    from agent.processes.transcript import Sink

GRACE = 10.0  # seconds between SIGTERM and SIGKILL after a timeout


def follow(directory: str, request: dict[str, Any], command: Forked, ending: SignalStop) -> None:
    """Record the output of the command until it has ended, then its result."""
    output = TailFile(f"{directory}/output")
    with _recording(output, request) as add:
        status, ended = _followed(directory, request, command, add, ending)
    _write_result(directory, output, status, ended)


def not_started(directory: str, request: dict[str, Any], why: str, status: int) -> None:
    """Record the output and result of a command that could not be started."""
    output = TailFile(f"{directory}/output")
    with _recording(output, request) as add:
        add(f"{why}\n".encode())
    _write_result(directory, output, status, None)


@contextmanager
def _recording(output: TailFile, request: dict[str, Any]) -> Iterator[Sink]:
    """A sink for the job's output, which also writes to the action's output if the request has a transcript."""
    if (saved := request["transcript"]) is None:
        yield output.add
    else:
        with Transcript.of(saved).stream() as add:
            yield both(output.add, add)


def _followed(
    directory: str, request: dict[str, Any], command: Forked, output: Sink, ending: SignalStop
) -> tuple[int | None, str | None]:
    """Follow the command; returns its exit status and why it was ended."""
    child = Child(lambda: command, stdin=request["stdin"], stdout=output)
    try:
        ending.group = child.group
        with suppress(OSError):
            leader = child.group.leader.as_json().encode()
            atomic_files.replace(f"{directory}/command", leader, durable=False)
        ended = child.follow(request["timeout"], ending)
        if ended is not None:
            child.end(GRACE if ended == "timeout" else ending.grace)
        return child.status, ended
    finally:
        child.close()


def _write_result(directory: str, output: TailFile, status: int | None, ended: str | None) -> None:
    """Write the rest of the output, then the result. On a full disk, retry: the job counts as running until then."""
    shown = "null" if status is None else str(status), "null" if ended is None else f'"{ended}"'
    result = '{{"status": {}, "ended": {}}}'.format(*shown).encode()
    while os.path.isdir(directory):
        with suppress(OSError):
            output.catch_up()
            return atomic_files.replace(f"{directory}/result", result)
        time.sleep(1)
