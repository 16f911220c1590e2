"""Which transcript this thread records in, and what of a command is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from agent.processes.transcript import Transcript

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent.processes.transcript import Sink


class Recorded(NamedTuple):
    """What of a command belongs to the output of its action: a first line that names it, and what it prints.

    `stdout` is false for a command whose standard output is an answer to the agent.
    """

    title: str = ""
    stdout: bool = True


_current: ContextVar[Transcript | None] = ContextVar("transcript", default=None)


@contextmanager
def recording(transcript: Transcript | None) -> Iterator[None]:
    """Until the end of the block, what this thread runs may be recorded there."""
    token = _current.set(transcript)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Transcript | None:
    """Where this thread records what it runs."""
    return _current.get()


@contextmanager
def streams(recorded: Recorded | None) -> Iterator[tuple[Sink, Sink]]:
    """Sinks for standard output and error of one command; they record what of it is to be recorded."""
    transcript = current()
    if transcript is None or recorded is None:
        yield _ignore, _ignore
        return
    if recorded.title:
        transcript.say(recorded.title)
    with transcript.stream() as error:
        if not recorded.stdout:
            yield _ignore, error
            return
        with transcript.stream() as output:
            yield output, error


def _ignore(data: bytes) -> None:
    """What is not recorded."""
