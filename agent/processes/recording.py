"""The transcript of the current thread, and the part of a command's output to record in it."""

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
    """The part of a command that is recorded in its action's output: `title` as the first line, then its output.

    `stdout` is false for a command whose standard output is a result for the agent.
    """

    title: str = ""
    stdout: bool = True


_current: ContextVar[Transcript | None] = ContextVar("transcript", default=None)


@contextmanager
def recording(transcript: Transcript | None) -> Iterator[None]:
    """Use `transcript` for the commands of this thread until the end of the block."""
    token = _current.set(transcript)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Transcript | None:
    """The transcript of this thread."""
    return _current.get()


@contextmanager
def streams(recorded: Recorded | None) -> Iterator[tuple[Sink, Sink]]:
    """Sinks for standard output and error of one command, which record its output as `recorded` says."""
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
    """A sink that records nothing."""
