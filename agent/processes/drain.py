"""A pipe whose reader ends before its writers: a process of its own reads and discards what they write."""

from __future__ import annotations

import os
import select
from contextlib import suppress

ARGV = ("setsid", "--fork", "cat")
"""In a session of its own, so that it outlives the agent as the writer does; it ends with the last writer."""


def drain(pipe: int) -> None:
    """Start a reader of the pipe, if any process still has it open for writing.

    Without a reader a daemon that continues to write is killed by SIGPIPE; with one that does not read it blocks.
    """
    if _is_closed(pipe):
        return
    import subprocess  # here, as most jobs leave no writer behind and need not load it

    os.set_blocking(pipe, True)  # cat takes a pipe that is empty for an error otherwise
    null = subprocess.DEVNULL
    with suppress(OSError):  # as without this: no descriptors are left, or there is no such program
        subprocess.run(ARGV, stdin=pipe, stdout=null, stderr=null, cwd="/", env={"PATH": os.defpath}, check=False)


def _is_closed(pipe: int) -> bool:
    """Whether all writers have gone."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poller.poll(0))
