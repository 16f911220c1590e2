"""Follows an action to its end: shows changes and output, and handles Ctrl-C."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from agent.cli import drawing, exits, printing
from agent.cli.running import one_line
from agent.cli.session import CliSession, say
from agent.client import Client, ClientError, Refused

SECOND_CTRL_C = 3.0
"""Seconds in which a second Ctrl-C cancels the action."""
LAST_OUTPUT = 10.0
"""Maximum seconds to wait for the rest of the output after the end of the action."""


def until_final(session: CliSession, action_id: str, *, follow: bool = False, announce: str = "") -> int:
    """Print `announce`, show each change until the action is final, print its end; returns the exit status.

    Ctrl-C leaves the action running; a second one cancels it and waits for the end. Raises `TimedOut`.
    """
    client = session.client
    while True:
        try:
            if announce:
                say(announce)
                announce = ""
            info = _final(session, action_id, follow=follow)
            printed(info, session.format)
            return exits.OF_OUTCOME.get(info["action"]["outcome"], exits.FAILED)
        except KeyboardInterrupt:
            if not _cancelled(client, action_id):
                return exits.WAIT_ENDED


def printed(info: Any, form: str) -> None:
    """Print the end of an action."""
    action = info["action"]
    sentence = f"{action['id']}  {action['kind']}  {action['outcome']}: {action['message']}"
    printing.members(info, form, action["id"], lambda: one_line(sentence))


def _final(session: CliSession, action_id: str, *, follow: bool) -> Any:
    info: Any = None
    client = session.client
    with _output_beside(client, action_id, follow=follow), drawing.of(sys.stderr) as show:
        for info in client.changes(action_id, session.seconds_left()):
            if info["action"]["finished_ts"] is None:
                show(info["action"])
    return info


def _cancelled(client: Client, action_id: str) -> bool:
    """After a Ctrl-C, wait for a second one and cancel the action then; whether it came."""
    try:
        say(f"the action {action_id} continues: agentctl wait {action_id[:8]}; press Ctrl-C again to cancel it")
        time.sleep(SECOND_CTRL_C)
    except KeyboardInterrupt:
        try:
            client.post("cancel", action_id)
            say(f"cancel requested: {action_id}")
        except Refused as error:
            say(f"{action_id} cannot be cancelled: {error}")
        return True
    return False


# Output


@contextmanager
def _output_beside(client: Client, action_id: str, *, follow: bool) -> Iterator[None]:
    """In the meantime, copy the output of the action to standard error, and the rest of it at the end."""
    if not follow:
        yield
        return
    copying = threading.Thread(target=_copied, args=(client, action_id, sys.stderr.buffer), daemon=True)
    copying.start()
    yield
    copying.join(LAST_OUTPUT)


def _copied(client: Client, action_id: str, to: BinaryIO) -> None:
    try:
        copy(client.output(action_id), to.write, to.flush)
    except ClientError as error:
        say(f"the output cannot be followed: {error}")


def copy(pieces: Iterator[bytes], write: Callable[[bytes], Any], flush: Callable[[], None]) -> int:
    """Write each piece at once; returns the number of bytes."""
    count = 0
    for piece in pieces:
        write(piece)
        flush()
        count += len(piece)
    return count
