"""Keeps a pipe open whose reader ends before its writers: a separate process reads and discards the data."""

from __future__ import annotations

import os
import select
from contextlib import suppress

ARGV = ("setsid", "--fork", "cat")
"""In its own session, so that it outlives the agent as the writers do; it ends with the last writer."""


def drain(pipe: int) -> None:
    """Start a reader of the pipe, if any process still has it open for writing.

    Without a reader, SIGPIPE would kill a daemon that continues to write; if the reader did not read, it would block.
    """
    if _is_closed(pipe):
        return
    import subprocess  # imported here: most jobs leave no writer behind and do not need it

    os.set_blocking(pipe, True)  # a non-blocking empty pipe would be an error for cat
    null = subprocess.DEVNULL
    with suppress(OSError):  # no free descriptor or no such program: continue without a reader
        subprocess.run(ARGV, stdin=pipe, stdout=null, stderr=null, cwd="/", env={"PATH": os.defpath}, check=False)


def _is_closed(pipe: int) -> bool:
    """Whether all writers have closed the pipe."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poller.poll(0))
