"""`Prefer: wait=N` (RFC 7240): hold an answer back until there is something new, without using up the server."""

import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from flask import Response, request

from agent.api import conditional
from agent.api.current import context, waiters
from agent.config import Settings
from agent.models import State
from agent.store import actions

LONGEST = 60.0
"""Seconds; a longer wait is capped."""
WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]+)"?\s*(;.*)?', re.IGNORECASE)
UNTIL_FINAL = re.compile(r'\s*until\s*=\s*"?final"?\s*', re.IGNORECASE)


class Waiters:
    """Limits the waiting requests to half of the server's threads, so that the others find a thread."""

    def __init__(self, changes: threading.Condition, stopping: threading.Event, settings: Settings) -> None:
        self._changes = changes
        self._stopping = stopping
        self._places = threading.Semaphore(settings.api.threads // 2)
        # Another agent on the same database changes actions without telling this one.
        self._look_every = settings.actions.execute_interval

    def wait(self, seconds: float, is_new: Callable[[], bool]) -> None:
        """Return when `is_new`, after `seconds`, or at once where no place is left or the agent stops."""
        if seconds <= 0 or not self._places.acquire(blocking=False):
            return
        try:
            self._wait(time.monotonic() + seconds, is_new)
        finally:
            self._places.release()

    def _wait(self, deadline: float, is_new: Callable[[], bool]) -> None:
        with self._changes:
            while not (is_new() or self._stopping.is_set()) and (left := deadline - time.monotonic()) > 0:
                self._changes.wait(min(left, self._look_every))


class Preference(NamedTuple):
    """What the header `Prefer` asks for: a wait of so many seconds, 0 for none, and whether only for a final state."""

    seconds: float
    until_final: bool

    def applied(self, response: Response) -> Response:
        """The response, naming the preference that was honoured."""
        if self.seconds:
            until = ", until=final" if self.until_final else ""
            response.headers["Preference-Applied"] = f"wait={self.seconds:g}{until}"
        return response


def preference() -> Preference:
    """The preference of this request; what cannot be read is ignored."""
    parts = request.headers.get("Prefer", "").split(",")
    return Preference(
        next((_seconds(found[1]) for part in parts if (found := WAIT.fullmatch(part))), 0.0),
        any(UNTIL_FINAL.fullmatch(part) for part in parts),
    )


def _seconds(digits: str) -> float:
    digits = digits.lstrip("0")
    return min(float(digits or 0), LONGEST) if len(digits) < 10 else LONGEST


def respond(tag: Callable[[], str], body: Callable[[], Response]) -> Response:
    """Answer with `body` under the entity tag `tag`; 304 and no body where the caller has it, after the wait."""
    preferred = preference()
    if preferred.seconds and conditional.is_asked():
        waiters().wait(preferred.seconds, lambda: not conditional.has(tag()))
    newest = tag()  # before the body, which may be newer: the caller then asks once more
    response = Response(status=304) if conditional.has(newest) else body()
    response.headers["Cache-Control"] = "no-cache"
    return preferred.applied(conditional.tagged(response, newest))


def wait_for(action_id: str) -> None:
    """Wait as the caller prefers: for a change that it has not seen, or until the action is final.

    Raises `ActionNotFound`.
    """
    preferred = preference()
    if preferred.seconds and (preferred.until_final or conditional.is_asked()):
        waiters().wait(preferred.seconds, lambda: _is_new(action_id, preferred.until_final))


def _is_new(action_id: str, until_final: bool) -> bool:
    """Whether the action has reached what the caller waits for, or is final so that nothing more follows."""
    version, state, kind, not_before = actions.standing(context().store, action_id)
    if state.final or until_final:
        return state.final
    return not conditional.has(tag_of(version, context().engine.holds.reason(kind, state, not_before)))


def tag_of(version: int, held: str | None) -> str:
    """The entity tag of an action: it changes with each transition, and with the reason why the action is held."""
    return str(version) if held is None else f"{version}-{crc32(held.encode()):08x}"


def caching(state: State) -> str:
    """The `Cache-Control` of an action in this state: a final action never changes."""
    return "private, max-age=31536000, immutable" if state.final else "no-cache"
