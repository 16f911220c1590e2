"""`Prefer: wait=N` (RFC 7240): delay an answer until it has changed."""

import re
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

from flask import Response, request

from agent.api import conditional
from agent.api.context import context, waiters
from agent.api.waiters import Fact
from agent.models import State
from agent.store import actions

LONGEST = 60.0
"""Seconds; a longer wait is capped."""
WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]+)"?\s*(;.*)?', re.IGNORECASE)
SEED = "seed"
"""The value of api.node_protocol and api.async_actions whose entity tags have no prefix."""
UNTIL_FINAL = re.compile(r'\s*until\s*=\s*"?final"?\s*', re.IGNORECASE)


class Preference(NamedTuple):
    """The header `Prefer`: the seconds to wait, 0 for none, and whether to wait for a final state only."""

    seconds: float
    until_final: bool

    def applied(self, response: Response) -> Response:
        """The response with the header `Preference-Applied`."""
        if self.seconds:
            until = ", until=final" if self.until_final else ""
            response.headers["Preference-Applied"] = f"wait={self.seconds:g}{until}"
        return response


def preference() -> Preference:
    """The preference of this request; invalid parts are ignored."""
    parts = request.headers.get("Prefer", "").split(",")
    return Preference(
        next((_seconds(found[1]) for part in parts if (found := WAIT.fullmatch(part))), 0.0),
        any(UNTIL_FINAL.fullmatch(part) for part in parts),
    )


def _seconds(digits: str) -> float:
    digits = digits.lstrip("0")
    return min(float(digits or 0), LONGEST) if len(digits) < 10 else LONGEST


def respond(name: str, tag: Callable[[], str], body: Callable[[], Response], form: str = SEED) -> Response:
    """Answer with `body` and the entity tag `tag`; 304 if the caller still has it after the wait.

    `tag` is called outside of the request too, once for all waiting requests of the same `name`. `form`: see `in_form`.
    """
    preferred = preference()
    if preferred.seconds and conditional.is_conditional():
        has = conditional.seen()
        waiters().wait(preferred.seconds, Fact(tag, lambda tag: not has(in_form(str(tag), form)), name))
    newest = in_form(tag(), form)  # before the body: if that is newer, the caller requests it once more
    response = Response(status=304) if conditional.has(newest) else body()
    response.headers["Cache-Control"] = "no-cache"
    return preferred.applied(conditional.tagged(response, newest))


def wait_for(action_id: str, form: str = SEED) -> None:
    """Wait as `Prefer` requests: until the entity tag in this form changes, or until the action is final.

    Raises `ActionNotFound`.
    """
    preferred = preference()
    if preferred.seconds and (preferred.until_final or conditional.is_conditional()):
        look = _wait_of(action_id, form, until_final=preferred.until_final)
        look()
        waiters().wait(preferred.seconds, Fact(look))


def _wait_of(action_id: str, form: str, *, until_final: bool) -> Callable[[], bool]:
    """The function that returns whether the wait is over: after a change, or once the action is final."""
    store, holds, has = context().store, context().engine.holds, conditional.seen()

    def is_over() -> bool:
        status = actions.status(store, action_id)
        if status.state.final or until_final:
            return status.state.final
        return not has(tag_of(status.version, holds.reason(status), form))

    return is_over


def tag_of(version: int, held: str | None, form: str = SEED) -> str:
    """The entity tag of an action: it changes with each transition, and with the reason why the action is held."""
    return in_form(str(version) if held is None else f"{version}-{crc32(held.encode()):08x}", form)


def in_form(tag: str, form: str) -> str:
    """The entity tag in this form; each form is another representation of the same resource."""
    return tag if form == SEED else f"{form}-{tag}"


def caching(state: State) -> str:
    """The `Cache-Control` of an action in this state: a final action never changes."""
    return "private, max-age=31536000, immutable" if state.final else "no-cache"
